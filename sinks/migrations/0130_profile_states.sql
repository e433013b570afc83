-- With the state, a store of profiles that is lost can be made again as it was (`throughline rebuild`): runs, caps and
-- timers are in no event.

ALTER TABLE {{database}}.profiles {{on_cluster}}
    ADD COLUMN IF NOT EXISTS state String CODEC(ZSTD(3))
    COMMENT 'What segments, journeys and messages remember of the person, JSON; empty: nothing' AFTER document;

ALTER TABLE {{database}}.identity_log {{on_cluster}}
    COMMENT COLUMN kind 'bind, merge, split, transfer, erase, refuse or release';
