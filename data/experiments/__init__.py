"""What `make train` runs: one table of experiments (`table.py`), one runner; each writes to data/.

python -m data.experiments --list      the table, with hours and what is there
"""
