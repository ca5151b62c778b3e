-- # service
-- How contacts and complaints are handled: waits, abandonment, transfers, first-contact resolution and complaints.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `contacts`, `customers` | contacts, customers | contacts in the window, and distinct customers with a contact or complaint |
-- | `wait_mean_s`, `wait_median_s`, `wait_p90_s`, `wait_p95_s` | seconds | waiting of the contacts that have `wait_s` (`--set waits=queued`: more than 0), abandoned ones included |
-- | `waited` | contacts | that these figures are of |
-- | `in_time`, `in_time_low`, `in_time_high` | 0..1 | share of the contacts with `wait_s` that were answered within the option `sla`, and its Wilson interval |
-- | `answered_in_time` | contacts | not abandoned, and waited at most that long |
-- | `abandonment`, `abandonment_low`, `abandonment_high` | 0..1 | `abandoned` / `contacts`, and its Wilson interval |
-- | `abandoned` | contacts | that the customer gave up |
-- | `handle_mean_s`, `handle_median_s`, `handle_p90_s`, `handle_p95_s` | seconds | being served, of the contacts that have `handle_s` |
-- | `transfers_per_contact` | transfers | sum of `transfers` / `contacts` |
-- | `transferred` | contacts | with a transfer |
-- | `resolved_share` | 0..1 | `resolved` true, of the contacts that say true or false |
-- | `fcr`, `fcr_low`, `fcr_high` | 0..1 | first-contact resolution: `first_resolved` / `first_contacts`, and its Wilson interval |
-- | `fcr_shrunk` | 0..1 | (`first_resolved` + k m) / (`first_contacts` + k): m is the share in the whole selection, k the option `prior`; a fair order of small groups |
-- | `first_contacts` | contacts | with a topic about which the customer had no contact in the 7 days before, and 7 days of data after it |
-- | `first_resolved` | contacts | of these, without another contact about the topic in the 7 days after it |
-- | `repeat_contacts` | contacts | that scoring took for a repetition |
-- | `complaints_opened`, `complaints_reopened` | complaints | opened; of these, after they had been resolved |
-- | `complaints_open` | complaints | of those opened in the window, not resolved since |
-- | `resolve_median_s`, `resolve_p90_s` | seconds | from opened to resolved, of those opened in the window and resolved since |
-- | `too_few` | text | shares that are not shown, since they are of fewer contacts than `--few` |
--
-- ## Options
-- - sla: 20, NUMBER: seconds within which a contact is to be answered
-- - waits: all, queued: which waits count; queued leaves out those of 0 seconds
-- - prior: 20, NUMBER: contacts that the mean of the selection weighs in `fcr_shrunk`
--
-- ## Caveats
-- - Contacts about a topic count as repetitions whichever agent answered, also outside the filters.
-- - First-contact resolution takes silence for success: a customer who gave up looks like one who was helped. Contacts without a topic do not count.
-- - Agents get different topics: compare them by topic (`--by agent,topic`), where a low `fcr_shrunk` shows what needs training.
-- - A complaint belongs to the group of the touchpoint that opened it.
--
-- ## Behind
-- - customers: true
-- - contacts: kind = 'contact'
-- - waited: kind = 'contact' AND counted_wait_s IS NOT NULL
-- - answered_in_time: kind = 'contact' AND NOT coalesce(abandoned, false) AND wait_s <= {option sla}
-- - abandoned: kind = 'contact' AND abandoned
-- - transferred: kind = 'contact' AND transfers > 0
-- - first_contacts: is_first
-- - first_resolved: is_first AND NOT is_followed
-- - repeat_contacts: kind = 'contact' AND repeat_contact
-- - complaints_opened: kind = 'complaint_opened'
-- - complaints_reopened: kind = 'complaint_opened' AND was_resolved
-- - complaints_open: kind = 'complaint_opened' AND resolved_at IS NULL
WITH ending AS (SELECT max(time) AS last_time FROM touchpoints),
about AS (
    SELECT
        *,
        lag(time) OVER topic_order AS contact_before,
        lead(time) OVER topic_order AS contact_after
    FROM touchpoints
    WHERE kind = 'contact' AND {around 7}
    WINDOW topic_order AS (PARTITION BY customer_id, topic ORDER BY time, "partition", "offset")
),
contacts AS (
    SELECT
        * EXCLUDE (contact_before, contact_after),
        topic IS NOT NULL AND (contact_before IS NULL OR contact_before <= time - INTERVAL 7 DAY)
            AND time + INTERVAL 7 DAY <= last_time AS is_first,
        contact_after IS NOT NULL AND contact_after <= time + INTERVAL 7 DAY AS is_followed
    FROM about, ending
),
complaints AS (
    SELECT
        *,
        min(time) FILTER (kind = 'complaint_resolved') OVER later AS resolved_at,
        coalesce(bool_or(kind = 'complaint_resolved') OVER earlier, false) AS was_resolved
    -- A filter for one kind is applied before other columns are read; one for several is not.
    FROM (
        FROM touchpoints WHERE kind = 'complaint_opened'
        UNION ALL FROM touchpoints WHERE kind = 'complaint_resolved'
    )
    WINDOW
        later AS (
            PARTITION BY customer_id, case_id ORDER BY time, "partition", "offset"
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        ),
        earlier AS (
            PARTITION BY customer_id, case_id ORDER BY time, "partition", "offset"
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )
),
events AS (
    SELECT
        *,
        {period} AS period,
        CASE WHEN {option waits} = 'all' OR wait_s > 0 THEN wait_s END AS counted_wait_s
    FROM (
        SELECT *, level_after AS level
        FROM (FROM contacts UNION ALL BY NAME FROM complaints WHERE kind = 'complaint_opened')
    )
    WHERE {where}
)
-- result of events
, counts AS (
    SELECT
        {by}
        count(*) FILTER ({contacts}) AS contacts,
        distinct_customers(customer_id) AS customers,
        avg(counted_wait_s) FILTER ({contacts}) AS wait_mean_s,
        quantile_cont(counted_wait_s, [0.5, 0.9, 0.95]) FILTER ({contacts}) AS waits,
        count(*) FILTER ({waited}) AS waited,
        count(*) FILTER ({answered_in_time}) AS answered_in_time,
        count(wait_s) FILTER ({contacts}) AS with_wait,
        count(*) FILTER ({abandoned}) AS abandoned,
        avg(handle_s) FILTER ({contacts}) AS handle_mean_s,
        quantile_cont(handle_s, [0.5, 0.9, 0.95]) FILTER ({contacts}) AS handles,
        coalesce(sum(transfers) FILTER ({contacts}), 0) AS transfers,
        count(*) FILTER ({transferred}) AS transferred,
        count(*) FILTER (kind = 'contact' AND resolved) AS resolved,
        count(resolved) FILTER ({contacts}) AS with_resolved,
        count(*) FILTER ({first_contacts}) AS first_contacts,
        count(*) FILTER ({first_resolved}) AS first_resolved,
        count(*) FILTER ({repeat_contacts}) AS repeat_contacts,
        count(*) FILTER ({complaints_opened}) AS complaints_opened,
        count(*) FILTER ({complaints_reopened}) AS complaints_reopened,
        count(*) FILTER ({complaints_open}) AS complaints_open,
        quantile_cont((epoch_ms(resolved_at) - epoch_ms(time)) / 1000, [0.5, 0.9]) FILTER ({complaints_opened}) AS resolves
    FROM events
    {group}
),
bases AS (
    SELECT
        *,
        CASE WHEN contacts >= {few} THEN nullif(contacts, 0) END AS contacts_n,
        CASE WHEN with_wait >= {few} THEN nullif(with_wait, 0) END AS wait_n,
        CASE WHEN first_contacts >= {few} THEN nullif(first_contacts, 0) END AS first_n,
        sum(first_resolved) OVER () / nullif(sum(first_contacts) OVER (), 0) AS fcr_mean
    FROM counts
)
SELECT
    {by}
    contacts, customers,
    wait_mean_s, waits[1] AS wait_median_s, waits[2] AS wait_p90_s, waits[3] AS wait_p95_s, waited,
    answered_in_time / wait_n AS in_time,
    wilson_low(answered_in_time, wait_n) AS in_time_low, wilson_high(answered_in_time, wait_n) AS in_time_high,
    answered_in_time,
    abandoned / contacts_n AS abandonment,
    wilson_low(abandoned, contacts_n) AS abandonment_low, wilson_high(abandoned, contacts_n) AS abandonment_high,
    abandoned,
    handle_mean_s, handles[1] AS handle_median_s, handles[2] AS handle_p90_s, handles[3] AS handle_p95_s,
    transfers / nullif(contacts, 0) AS transfers_per_contact,
    transferred,
    resolved / nullif(with_resolved, 0) AS resolved_share,
    first_resolved / first_n AS fcr,
    wilson_low(first_resolved, first_n) AS fcr_low, wilson_high(first_resolved, first_n) AS fcr_high,
    (first_resolved + {option prior} * fcr_mean) / nullif(first_contacts + {option prior}, 0) AS fcr_shrunk,
    first_contacts, first_resolved, repeat_contacts,
    complaints_opened, complaints_reopened, complaints_open,
    resolves[1] AS resolve_median_s, resolves[2] AS resolve_p90_s,
    nullif(concat_ws(
        ', ',
        CASE WHEN with_wait BETWEEN 1 AND {few} - 1 THEN 'in_time' END,
        CASE WHEN contacts BETWEEN 1 AND {few} - 1 THEN 'abandonment' END,
        CASE WHEN first_contacts BETWEEN 1 AND {few} - 1 THEN 'fcr' END
    ), '') AS too_few
FROM bases
ORDER BY {order} contacts DESC {then_by}
