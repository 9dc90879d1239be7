"""AWS IoT SQL: time functions."""

import pytest
from sql_cases import check_value, nothing_left_behind  # noqa: F401 - an autouse fixture

from cpsim_kit.local.iot_sql.values import UNDEFINED

# Expression over MANY, value. UNDEFINED: the item is left out. "guide" marks an example of AWS's developer guide.
EXPRESSIONS = [
    # times
    (
        "parse_time(\"yyyy.MM.dd G 'at' HH:mm:ss z\", 100000000, 'America/Belize')",
        "1970.01.01 AD at 21:46:40 CST",
    ),  # guide
    ("parse_time('yyyy', timestamp(), 'UTC')", "2023"),  # guide
    ("parse_time(\"yyyy-MM-dd'T'HH:mm:ss.SSSZZ\", 1700000000123)", "2023-11-14T22:13:20.123+00:00"),
    ("parse_time('EEE EEEE d MMM MMMM yy h a K k D e', 0, 'UTC')", "Thu Thursday 1 Jan January 70 12 AM 0 24 1 4"),
    ("parse_time('Z ZZZ', 0, '+05:30')", "+0530 UTC+05:30"),
    ("parse_time('yyyy', 1e30)", UNDEFINED),
    ("parse_time('yyyy', 0, 'Nowhere/Land')", UNDEFINED),
    ("parse_time('yyyy', 0, 'America')", UNDEFINED),
    ("parse_time('q', 0)", UNDEFINED),
    ('parse_time("\'open", 0)', UNDEFINED),
    ('time_to_epoch("2020-04-03 09:45:18 UTC+01:00", "yyyy-MM-dd HH:mm:ss VV")', 1585903518000),  # guide
    ('time_to_epoch("18 December 2015", "dd MMMM yyyy")', 1450396800000),  # guide
    (
        'time_to_epoch("2007-12-03 10:15:30.592 America/Los_Angeles", "yyyy-MM-dd HH:mm:ss.SSS z")',
        1196705730592,
    ),  # guide
    ("time_to_epoch('2023-11-14T22:13:20Z', \"yyyy-MM-dd'T'HH:mm:ssX\")", 1700000000000),
    ("time_to_epoch('14/11/23 10:13 PM', 'dd/MM/yy hh:mm a')", 1699999980000),
    ("time_to_epoch('2023-11-14', 'yyyy-MM-dd[ HH:mm]')", 1699920000000),
    ("time_to_epoch('01.01.1970 12:30 AM', 'dd.MM.yyyy hh:mm a')", 1800000),
    ("time_to_epoch('Tue, 14 Nov 2023', 'EEE, dd MMM yyyy')", 1699920000000),
    ("time_to_epoch('2023-320', 'yyyy-DDD')", 1700092800000),
    ("time_to_epoch('tomorrow', 'yyyy-MM-dd')", UNDEFINED),
    ("time_to_epoch('2023', 'yyyy')", UNDEFINED),
    ("time_to_epoch('2023-13-01', 'yyyy-MM-dd')", UNDEFINED),
]


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS, ids=[row[0] for row in EXPRESSIONS])
def test_time_function_has_the_value_of_the_guide(expression, expected):
    check_value(expression, expected)
