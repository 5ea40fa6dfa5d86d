"""From an artery and a tissue to signals: arterial curves, exchange, images and their noise."""
