"""The sections of the panel, each a class that the widget of the module inherits, and their parts in Qt."""
