-- one row per current ticket
{{ as_reported('ticket', {'handling_minutes': minutes_between('reported_at', 'closed_at')}) }}
