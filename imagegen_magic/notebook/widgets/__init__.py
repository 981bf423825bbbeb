"""Widgets that ipywidgets does not have: ratio picker, choice, gallery, comparison, painter, vote, prompt, key field."""
