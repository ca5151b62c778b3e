-- # training
-- Which topics need training, by agent: how each handles a topic, against all who handle it.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `who`, `about` | text | the agent and the topic |
-- | `contacts`, `customers` | contacts, customers | of the agent about the topic, and distinct customers |
-- | `agents` | agents | with contacts about the topic |
-- | `fcr`, `fcr_low`, `fcr_high`, `fcr_mean` | 0..1 | first-contact resolution, shrunk, with its interval of 95%, and that of the topic |
-- | `first_contacts`, `first_resolved` | contacts | that it is of, as in view `service` |
-- | `repeated`, `repeated_low`, `repeated_high`, `repeated_mean` | 0..1 | share of contacts with another one about the topic in the 7 days after, shrunk, and that of the topic |
-- | `past_contacts`, `repeated_contacts` | contacts | that it is of: with 7 days of data after them; and of these, those followed by another |
-- | `handle_s`, `handle_low`, `handle_high`, `handle_mean` | seconds | mean of being served, shrunk, and that of the topic |
-- | `handled` | contacts | that have `handle_s` |
-- | `satisfaction`, `satisfaction_low`, `satisfaction_high`, `satisfaction_mean` | 0..100 | mean satisfaction after the contact, shrunk, and that of the topic |
-- | `needs` | text | what is worse than the mean of the topic by more than its interval |
-- | `too_few` | text | what is not shown, since it is of fewer contacts than `--few`, or of fewer agents than the option `peers` |
--
-- Shrunk towards the mean m of the topic: (sum + k m) / (n + k), where k is the option `prior`. The interval of a share s is s ± 1.96
-- sqrt(s (1 - s) / (n + k + 1)), of the beta distribution with this prior; of a mean it is ± 1.96 d / sqrt(n + k), where d is the
-- standard deviation of all contacts about the topic.
--
-- ## Options
-- - prior: 20, NUMBER: contacts that the mean of the topic weighs
-- - peers: 3, NUMBER: least number of agents of a topic: with fewer nobody is compared
--
-- ## Keys
-- - who: the agent
-- - about: the topic
--
-- ## Caveats
-- - Look at the topic before the person: difficult cases go to some agents on purpose. The figures say where to look, not who is bad.
-- - Of four measures and many agents, some are outside of their intervals by chance.
-- - Contacts without an agent or a topic are left out. Satisfaction after a contact is the customer's score, of their whole history.
-- - The mean is that of the selection, in the same group with `--by` or `--grain`.
--
-- ## Behind
-- - customers: true
-- - contacts: true
-- - first_contacts: is_first
-- - first_resolved: is_first AND NOT is_followed
-- - past_contacts: is_past
-- - repeated_contacts: is_past AND is_followed
-- - handled: handle_s IS NOT NULL
WITH ending AS (SELECT max(time) AS last_time FROM touchpoints),
about AS (
    SELECT
        *,
        lag(time) OVER topic_order AS contact_before,
        lead(time) OVER topic_order AS contact_after
    FROM touchpoints
    WHERE kind = 'contact' AND topic IS NOT NULL AND {around 7}
    WINDOW topic_order AS (PARTITION BY customer_id, topic ORDER BY time, "partition", "offset")
),
events AS (
    SELECT
        * EXCLUDE (contact_before, contact_after),
        {period} AS period,
        agent AS who,
        topic AS about,
        time + INTERVAL 7 DAY <= last_time AS is_past,
        is_past AND (contact_before IS NULL OR contact_before <= time - INTERVAL 7 DAY) AS is_first,
        contact_after IS NOT NULL AND contact_after <= time + INTERVAL 7 DAY AS is_followed
    FROM (SELECT *, level_after AS level FROM about), ending
    WHERE agent IS NOT NULL AND {where}
)
-- result of events
, cells AS (
    SELECT
        {by}
        who,
        about,
        count(*) AS contacts,
        count(DISTINCT customer_id) AS customers,
        count(*) FILTER ({first_contacts}) AS first_contacts,
        count(*) FILTER ({first_resolved}) AS first_resolved,
        count(*) FILTER ({past_contacts}) AS past_contacts,
        count(*) FILTER ({repeated_contacts}) AS repeated_contacts,
        count(*) FILTER ({handled}) AS handled,
        coalesce(sum(handle_s), 0) AS handle_sum,
        coalesce(sum(handle_s * handle_s), 0) AS handle_squares,
        sum(satisfaction_after::DOUBLE) AS satisfaction_sum,
        sum(satisfaction_after::DOUBLE * satisfaction_after) AS satisfaction_squares
    FROM events
    GROUP BY ALL
),
means AS (
    SELECT
        *,
        count(*) OVER topics AS agents,
        sum(first_resolved) OVER topics / nullif(sum(first_contacts) OVER topics, 0) AS fcr_mean,
        sum(repeated_contacts) OVER topics / nullif(sum(past_contacts) OVER topics, 0) AS repeated_mean,
        sum(handle_sum) OVER topics / nullif(sum(handled) OVER topics, 0) AS handle_mean,
        sum(satisfaction_sum) OVER topics / sum(contacts) OVER topics AS satisfaction_mean,
        deviation(sum(handled) OVER topics, sum(handle_sum) OVER topics, sum(handle_squares) OVER topics) AS handle_deviation,
        deviation(sum(contacts) OVER topics, sum(satisfaction_sum) OVER topics, sum(satisfaction_squares) OVER topics)
            AS satisfaction_deviation
    FROM cells
    WINDOW topics AS (PARTITION BY {by} about)
),
shrunk AS (
    SELECT
        *,
        {option prior} AS k,
        agents >= {option peers} AS is_compared,
        (first_resolved + k * fcr_mean) / nullif(first_contacts + k, 0) AS fcr,
        (repeated_contacts + k * repeated_mean) / nullif(past_contacts + k, 0) AS repeated,
        (handle_sum + k * handle_mean) / nullif(handled + k, 0) AS handle_s,
        (satisfaction_sum + k * satisfaction_mean) / nullif(contacts + k, 0) AS satisfaction
    FROM means
),
shown AS (
    SELECT
        * EXCLUDE (fcr, repeated, handle_s, satisfaction),
        CASE WHEN is_compared AND first_contacts > 0 AND first_contacts >= {few} THEN fcr END AS fcr,
        CASE WHEN is_compared AND past_contacts > 0 AND past_contacts >= {few} THEN repeated END AS repeated,
        CASE WHEN is_compared AND handled > 0 AND handled >= {few} THEN handle_s END AS handle_s,
        CASE WHEN is_compared AND contacts >= {few} THEN satisfaction END AS satisfaction,
        1.959963984540054 * sqrt(greatest(0, shrunk.fcr * (1 - shrunk.fcr)) / (first_contacts + k + 1)) AS fcr_margin,
        1.959963984540054 * sqrt(greatest(0, shrunk.repeated * (1 - shrunk.repeated)) / (past_contacts + k + 1))
            AS repeated_margin,
        1.959963984540054 * handle_deviation / sqrt(nullif(handled + k, 0)) AS handle_margin,
        1.959963984540054 * satisfaction_deviation / sqrt(contacts + k) AS satisfaction_margin
    FROM shrunk
)
SELECT
    {by}
    who, about, contacts, customers, agents,
    fcr, clipped(fcr - fcr_margin, 0, 1) AS fcr_low, clipped(fcr + fcr_margin, 0, 1) AS fcr_high,
    CASE WHEN is_compared THEN fcr_mean END AS fcr_mean, first_contacts, first_resolved,
    repeated, clipped(repeated - repeated_margin, 0, 1) AS repeated_low, clipped(repeated + repeated_margin, 0, 1) AS repeated_high,
    CASE WHEN is_compared THEN repeated_mean END AS repeated_mean, past_contacts, repeated_contacts,
    handle_s, clipped(handle_s - handle_margin, 0, 'inf'::DOUBLE) AS handle_low, handle_s + handle_margin AS handle_high,
    CASE WHEN is_compared THEN handle_mean END AS handle_mean, handled,
    satisfaction, clipped(satisfaction - satisfaction_margin, 0, 100) AS satisfaction_low,
    clipped(satisfaction + satisfaction_margin, 0, 100) AS satisfaction_high,
    CASE WHEN is_compared THEN satisfaction_mean END AS satisfaction_mean,
    nullif(concat_ws(
        ', ',
        CASE WHEN fcr + fcr_margin < fcr_mean THEN 'fcr' END,
        CASE WHEN repeated - repeated_margin > repeated_mean THEN 'repeated' END,
        CASE WHEN handle_s - handle_margin > handle_mean THEN 'handle_s' END,
        CASE WHEN satisfaction + satisfaction_margin < satisfaction_mean THEN 'satisfaction' END
    ), '') AS needs,
    nullif(concat_ws(
        ', ',
        CASE WHEN first_contacts > 0 AND fcr IS NULL THEN 'fcr' END,
        CASE WHEN past_contacts > 0 AND repeated IS NULL THEN 'repeated' END,
        CASE WHEN handled > 0 AND handle_s IS NULL THEN 'handle_s' END,
        CASE WHEN satisfaction IS NULL THEN 'satisfaction' END
    ), '') AS too_few
FROM shown
ORDER BY {order} len(string_split(needs, ',')) DESC NULLS LAST, contacts DESC, who, about {then_by}
