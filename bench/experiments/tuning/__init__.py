"""Searches for recipes under equal budgets: `bench tune`.

`space`: what is tried. `plan`: what a search is, and its folder. `studies`: optuna's storage, and the
next trial. `trial`: what a worker does. `search`: rounds of trials through an executor. `winners`:
what a search found, for the option `--tuned` of `bench run`.

A *search* is a folder below results/tuning. It holds a *study* for each method and dataset, and a
study holds *trials*: trainings that are scored on validation cases and stored nowhere else.
"""
