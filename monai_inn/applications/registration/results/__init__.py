"""Files and figures of poses."""
