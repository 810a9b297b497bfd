-- one row per event whose position lies more than :tolerance_m outside the polygon of its grid; evidence is the grid
with position as (
    select e.event_id, g.grid_id, e.longitude_original as x, e.latitude_original as y
    from event as e
    inner join staging.stg_grid as g on e.grid_id = g.grid_id
    inner join feed_datum as event_datum on e.feed = event_datum.feed
    inner join feed_datum as grid_datum on g.feed = grid_datum.feed
    where
        e.longitude_original is not null
        and g.boundary is not null
        and event_datum.coordinate_system = grid_datum.coordinate_system
),

-- one row per ring: "POLYGON ((x y, x y), (x y, …))"
ring as (
    select grid_id, ring_number, split(regexp_replace(ring, '[^0-9eE.,+ -]', ''), ' *, *') as points
    from (
        select grid_id, posexplode(split(upper(boundary), '[)] *, *[(]')) as (ring_number, ring)
        from staging.stg_grid
        where boundary is not null
    ) as rings
),

vertex as (
    select
        grid_id,
        ring_number,
        number,
        try_cast(split(trim(point), ' +')[0] as double) as x,
        try_cast(split(trim(point), ' +')[1] as double) as y
    from (
        select grid_id, ring_number, posexplode(points) as (number, point)
        from ring
    ) as points
),

edge as (
    select
        grid_id,
        x as x1,
        y as y1,
        lead(x) over (partition by grid_id, ring_number order by number) as x2,
        lead(y) over (partition by grid_id, ring_number order by number) as y2
    from vertex
),

-- multiplies rows: an event by the edges of its grid (4 to some dozens)
beside as (
    select
        p.event_id,
        p.grid_id,
        -- even-odd rule: does a ray to the east cross the edge?
        case
            when (e.y1 > p.y) <> (e.y2 > p.y) and p.x < (e.x2 - e.x1) * (p.y - e.y1) / nullif(e.y2 - e.y1, 0.0d) + e.x1 then 1
            else 0
        end as crossing,
        -- the edge in metres around the position
        (e.x1 - p.x) * 111320.0d * cos(radians(p.y)) as ax,
        (e.y1 - p.y) * 111320.0d as ay,
        (e.x2 - e.x1) * 111320.0d * cos(radians(p.y)) as dx,
        (e.y2 - e.y1) * 111320.0d as dy
    from position as p
    inner join edge as e on p.grid_id = e.grid_id
    where e.x1 is not null and e.y1 is not null and e.x2 is not null and e.y2 is not null
),

nearest as (
    select
        event_id,
        grid_id,
        crossing,
        ax,
        ay,
        dx,
        dy,
        -- where on the edge (0 … 1) the nearest point lies
        case
            when dx * dx + dy * dy = 0.0d then 0.0d
            else greatest(0.0d, least(1.0d, -(ax * dx + ay * dy) / nullif(dx * dx + dy * dy, 0.0d)))
        end as along
    from beside
),

measured as (
    select
        event_id,
        grid_id,
        sum(crossing) as crossings,
        min(sqrt(power(ax + along * dx, 2.0d) + power(ay + along * dy, 2.0d))) as metres
    from nearest
    group by event_id, grid_id
)

select
    event_id as subject_id,
    least(1.0d, metres / :whole_m) as value,
    grid_id as evidence_id,
    'grid' as evidence_type,
    cast(round(metres) as bigint) as metres
from measured
where crossings % 2 = 0 and metres > :tolerance_m
