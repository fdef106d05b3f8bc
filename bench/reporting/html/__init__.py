"""A report as one HTML file that opens offline: tables, statistics, figures, predictions, cells.

`part` is what a report hands over; `grids` gives every table one form, `cells` and `curves`
describe cells, `pictures` chooses cases and packs images and outlines, `page` fills the template.
"""
