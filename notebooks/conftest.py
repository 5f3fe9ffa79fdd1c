"""nbmake runs notebooks by nbclient: what builder.execute mends in it serves here too."""

import builder.execute  # noqa: F401
