"""Functional forms: what a law is as a function, declared, without a fit.

Read `form` (what a form is), `power_sum` (a table of terms), `laws` (every law by name); then the forms that
are not sums of powers: `kaplan`, `repeated`, `broken`, `task_error`. `limiting` is the form at a limit of a
parameter, `quantities` what a fit reports, `envelope` which points a law describes.
"""
