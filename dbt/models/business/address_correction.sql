-- one row per current correction of a standard address
{{ as_reported('address_correction', {'answer_minutes': minutes_between('reported_at', 'answered_at')}) }}
