"""From features to the condition of a flow."""
