"""Every DeePMD training asks mendeleev for the number of each element, whose first answer takes seconds: once per server of forked.py."""

import mendeleev

mendeleev.element("O")
