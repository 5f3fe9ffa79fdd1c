"""The class report: what a folder of submissions gets right, each judged anew in a box of its own.

    make report FROM=folder

extract.py reads what a notebook hands in, without running it; needs.py says which names that needs; box.py
and inside.py run it; wire.py is what comes out; judge.py says what it is worth; run.py does so for a folder.
facts.py, tally.py, page.py and table.py make the page and the table of it.
"""
