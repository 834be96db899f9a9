"""The functions behind the commands and `import scaling`: Python values in, results that show themselves out.

    costs      models, estimate, dryrun
    plans      plan
    runs       train, sweep, status, launch, check_mup, demo
    laws       read, fit, emergence
    figures    plot, report
    weights    import_hf, export_hf, score, generate, evaluate

`results` holds what all results share, `arguments` the forms in which options are accepted, and `text` what
results print. Modules import JAX, NumPy and matplotlib only inside the functions that need them.
"""
