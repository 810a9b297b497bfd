"""The figures behind the simulated province, each with where it comes from.

`measured` figures are rounded from two public city feeds: an appeals platform of a Chinese city district in 2018 (10,000 rows) and Boston 311 in the
second half of 2011 (58,251 rows). `official` figures are published counts of the province. `assumed` ones are ours and say so.
"""

from __future__ import annotations

from collections.abc import Mapping

# measured (district): share of reports by hour of the day, 0 to 23.
HOURS = (
    0.0169, 0.0045, 0.0028, 0.0020, 0.0009, 0.0015, 0.0104, 0.0280, 0.0925, 0.0845, 0.1221, 0.0627,
    0.0435, 0.0277, 0.0499, 0.0704, 0.0710, 0.0724, 0.0595, 0.0519, 0.0350, 0.0319, 0.0352, 0.0228,
)  # fmt: skip
# assumed: grid members patrol from 7 to 21; within those hours they report as everybody does.
PATROL_HOURS = range(7, 22)

# measured (district): share by weekday, Monday first.
WEEKDAYS = (0.1727, 0.1961, 0.1648, 0.1347, 0.1599, 0.0889, 0.0829)
# assumed: a public holiday is quieter than a Sunday; a make-up workday is an ordinary Monday.
HOLIDAY_FACTOR = 0.65

# Share by first-level class: measured (district), scaled down, for what city-management feeds know (03, 04, 05, 07); assumed for the rest,
# which they hardly take: disputes, hazards, fire safety, public order and livelihood.
CLASS_SHARE = {"01": 0.10, "02": 0.10, "03": 0.22, "04": 0.13, "05": 0.12, "06": 0.04, "07": 0.06, "08": 0.11, "09": 0.11, "99": 0.01}

# measured (district): share handled past its limit, by the nearest type: community management, hazards, sanitation, facilities, water and
# environment, public order, transport, civil affairs, hazards again; 99 is the feed's mean.
OVERDUE_SHARE = {
    "01": 0.229, "02": 0.096, "03": 0.073, "04": 0.156, "05": 0.041, "06": 0.267, "07": 0.021, "08": 0.149, "09": 0.096, "99": 0.093,
}  # fmt: skip
# measured (Boston): 6.3 % of cases were open at the end of the half-year; most here close in days, so only these stay open for good.
NEVER_CLOSED_SHARE = 0.012

# assumed: how much likelier a class is in a month than in an ordinary one.
SEASONS: Mapping[str, Mapping[int, float]] = {
    "0103": {12: 1.8, 1: 2.6, 2: 1.4},  # wages before the Spring Festival
    "0202": {12: 1.6, 1: 1.8, 2: 1.5, 7: 1.4, 8: 1.4},
    "0205": {5: 1.6, 6: 2.4, 7: 3.5, 8: 3.2, 9: 1.5, 12: 0.3, 1: 0.3, 2: 0.3},
    "0206": {5: 1.4, 6: 3.0, 7: 2.4, 8: 2.4, 9: 2.0, 12: 0.5, 1: 0.5},  # plum rain and typhoons
    "0404": {6: 2.6, 7: 1.8, 8: 1.8, 9: 1.6},
    "0501": {5: 1.3, 6: 1.5, 7: 1.6, 8: 1.6, 9: 1.3},
    "0502": {6: 1.4, 7: 1.7, 8: 1.7},
    "0504": {5: 1.5, 6: 1.6, 10: 1.8, 11: 2.2},  # straw after the harvests
    "0804": {7: 1.8, 8: 1.8, 1: 1.4},
    "0902": {12: 1.4, 1: 1.5, 2: 1.3},
    "0904": {12: 1.3, 1: 1.5, 2: 1.4},
}

# assumed: most reports come from grid members on patrol.
CHANNEL_SHARE = {"grid": 0.70, "citizen": 0.12, "hotline": 0.10, "video": 0.04, "department": 0.03, "petition": 0.01}
LEVEL_SHARE = {"1": 0.90, "2": 0.085, "3": 0.014, "4": 0.001}

# official: about 61,000 grids and 64.57 million residents in the province (2020), so about 1,060 residents a grid; 330,000 members, so 5.4 a grid.
RESIDENTS_PER_GRID = 1060
GRIDS_PER_VILLAGE = (2, 4)
# assumed: with a leader, one full-time, one part-time member and an adviser almost everywhere, the N that brings a team to 5.4.
OTHER_FORCES_PER_GRID = 1.55
MISSING_SHARE = {"leader": 0.03, "dedicated": 0.02, "part_time": 0.05, "adviser": 0.08}
# assumed: who of a team reports.
REPORTING_WEIGHT = {"leader": 1.0, "dedicated": 5.0, "part_time": 1.5, "adviser": 0.2, "other": 0.4}
LEAVING_SHARE_PER_YEAR = 0.06
REPLACED_SHARE = 0.8

# measured (Boston): a quarter of cases close within 10 minutes, half within 22 hours. assumed: the quick ones are those that grid members
# settle on the spot, two thirds of the ordinary ones they find.
SETTLED_ON_THE_SPOT_SHARE = 0.65
RETURNED_SHARE = 0.06
CHECKED_SHARE = 0.15
NOT_ACCEPTED_SHARE = 0.015
WITHDRAWN_SHARE = 0.005
DELETED_SHARE = 0.004
NO_POSITION_SHARE = 0.06
# assumed: a platform that also exports the versions between two deliveries.
EVERY_VERSION_SHARE = 0.10

# assumed: 0.05 events a grid and day, as the contract's volume has it, at 1,060 residents a grid; 1.1 million a year in the whole province.
EVENTS_PER_1000_RESIDENTS_AND_YEAR = 17.2

# What is injected; measured feeds hold 3 to 30 % repeats (Boston 4.3 %) and many nil reports.
NIL_REPORT_SHARE = 0.03
NEAR_DUPLICATE_SHARE = 0.03
INSTANT_CLOSE_SHARE = 0.02
# assumed: rarer than those, and of a few members each.
TELEPORT_SHARE, OUT_OF_GRID_SHARE, BURST_SHARE = 0.003, 0.005, 0.004
# assumed: of a hundred events one is filed under what its text is not about, or under the wrong level.
WRONG_CLASS_SHARE, WRONG_LEVEL_SHARE = 0.006, 0.004

# official: 25.6 of 64.57 million residents of the province (2020) lived apart from where they are registered.
FLOATING_SHARE = 0.396
# assumed: households of one to six, so that the mean comes to the census's 2.35.
HOUSEHOLD_SIZE = (0.31, 0.32, 0.20, 0.11, 0.04, 0.02)
# assumed: who has no number of his own gives that of the head of the household.
SHARED_PHONE_SHARE_OF_ELDERS, SHARED_PHONE_SHARE_OF_LODGERS = 0.4, 0.2
# assumed: the share of grid members that stand in the sample of public security.
MEMBERS_KNOWN_SHARE = 0.03
# official: about 9.4 million market entities for 65.8 million residents of the province (2022).
ENTERPRISES_PER_RESIDENT = 0.143
ENTERPRISE_TYPE = {"limited_company": 0.33, "self_employed": 0.64, "cooperative": 0.01, "branch": 0.02}
# assumed: sections of GB/T 4754.
ENTERPRISE_INDUSTRY = {"F": 0.44, "C": 0.20, "H": 0.11, "O": 0.08, "L": 0.06, "G": 0.04, "I": 0.03, "E": 0.03, "A": 0.01}
TRADE_OF_INDUSTRY = {
    "F": "贸易", "C": "机械制造", "H": "餐饮", "O": "生活服务", "L": "商务服务", "G": "物流", "I": "信息技术", "E": "建筑工程", "A": "农资",
}  # fmt: skip
ENTERPRISES_CLOSED_SHARE = 0.12
ENTERPRISES_AS_KEY_PLACES_SHARE = 0.35

# assumed, this block: lists of key persons and key places are not published. A grid of a thousand residents looks after about one of each.
KEY_PERSONS_PER_GRID, KEY_PLACES_PER_GRID = 0.8, 0.6
KEY_PERSONS_KNOWN_SHARE = 0.3
KEY_PERSON_TYPE = {
    "released": 0.26, "mental_disorder": 0.25, "drug": 0.14, "correction": 0.09, "petition": 0.09, "setback": 0.08, "aids_risk": 0.03, "cult": 0.03,
    "youth": 0.03,
}  # fmt: skip
RISK_LEVEL = {"high": 0.08, "medium": 0.27, "low": 0.65}
KEY_PERSONS_NEW_PER_YEAR = 0.12
KEY_PERSON_ENDS_PER_YEAR = {"died_on": 0.015, "moved_on": 0.05, "released_on": 0.06}
MOVED_AND_LISTED_AGAIN_SHARE = 0.6
KEY_PLACE_TYPE = {
    "small_shop": 0.46, "rental_cluster": 0.14, "hotel": 0.10, "school_surroundings": 0.08, "entertainment": 0.05, "internet_cafe": 0.04,
    "hazardous_goods": 0.03, "logistics": 0.04, "construction_site": 0.03, "medical": 0.03,
}  # fmt: skip
NAME_OF_KEY_PLACE = {
    "small_shop": "便利店", "rental_cluster": "出租公寓", "hotel": "旅馆", "school_surroundings": "文具店", "entertainment": "歌舞厅",
    "internet_cafe": "网吧",
    "hazardous_goods": "化工经营部", "logistics": "快递站点", "construction_site": "建设工地", "medical": "诊所",
}  # fmt: skip
KEY_PLACES_CLOSED_PER_YEAR = 0.05

# assumed: how often a sender's record of a person differs from the person. Public security reads the card, a grid member asks at the door.
DIFFERENCES_AT_PUBLIC_SECURITY = {"name_typo": 0.003, "id_missing": 0.004, "phone_other": 0.08, "phone_missing": 0.05}
DIFFERENCES_ON_KEY_PERSON_LISTS = {
    "name_typo": 0.05, "id_swap": 0.05, "birth_slip": 0.05, "id_missing": 0.12, "phone_other": 0.12, "phone_missing": 0.10,
}  # fmt: skip
MOVES_PER_YEAR = 0.04
# assumed: micro-grids of 30 to 50 households; by this share of villages they have been drawn (everywhere would be thirteen a grid).
HOUSEHOLDS_PER_MICRO_GRID, MICRO_GRID_VILLAGE_SHARE = 40, 0.25
MICRO_GRID_LEADER_SHARE = 0.92
MICRO_GRIDS_WITHDRAWN_SHARE, MICRO_GRIDS_RECOUNTED_SHARE = 0.005, 0.01
ORGANISATIONS_RENAMED_SHARE, ORGANISATIONS_WITHOUT_DINGTALK_SHARE = 0.003, 0.02
RISK_REVIEWED_SHARE = 0.06
# assumed: what departments do not know.
GRID_UNKNOWN_SHARE, ADDRESS_CODE_UNKNOWN_SHARE = 0.08, 0.12
ADDRESSES_NEW_SHARE, ADDRESSES_ABOLISHED_SHARE = 0.02, 0.005

# measured: what texts and closings look like elsewhere, to compare the simulated ones with; nothing is drawn from them.
# Characters of a description (a city's hotline, 2018, 8,000 texts) and hours from report to close (Boston), by quantile.
TEXT_LENGTH = {0.05: 17.0, 0.25: 30.0, 0.5: 86.0, 0.75: 134.0, 0.95: 393.0}
CLOSING_HOURS = {0.05: 0.0, 0.25: 0.17, 0.5: 22.18, 0.75: 263.7, 0.95: 5184.84}
# Real event feeds hold so many repeats.
REPEATS_RANGE = (0.03, 0.30)
