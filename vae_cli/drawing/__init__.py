"""Pictures and pages about models: grids, sheets, curves, HTML."""
