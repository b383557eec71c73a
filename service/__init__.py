"""The demo service: four domains behind deadlines, admission and one taxonomy of failures."""
