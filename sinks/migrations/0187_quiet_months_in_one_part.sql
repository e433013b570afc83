-- Reading `touchpoints FINAL` compares the keys of parts that overlap, which is a third of what a report on attribution costs. A month in which nothing was
-- stored for three days is merged into one part, whose rows need no comparison; a month that still gets late events waits.
ALTER TABLE {{database}}.touchpoints {{on_cluster}} MODIFY SETTING min_age_to_force_merge_seconds = 259200, min_age_to_force_merge_on_partition_only = 1;
