"""The functions behind the commands and `import scaling`: Python values in, results that show themselves out.

    costs, plans             models, estimate, dryrun; plan
    runs, launch, demo       train, sweep, status, check_mup; launch; demo
    laws, emergence          read, fit; emergence
    figures                  plot, report
    weights, evaluations     import_hf, export_hf, score, generate; evaluate

`results` holds what all results share, `arguments` the forms in which options are accepted, and `text` what
results print. Modules import JAX, NumPy and matplotlib only inside the functions that need them.
"""
