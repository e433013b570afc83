-- Who did what, to whom or what, when, and how it ended: acts of the console and of the command line.

CREATE TABLE IF NOT EXISTS {{database}}.audit_log {{on_cluster}}
(
    act_id UUID COMMENT 'The act',
    acted_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When',
    actor String COMMENT 'Who: the name of the sign-in, or of the user of the machine',
    via LowCardinality(String) COMMENT 'console or cli',
    act LowCardinality(String) COMMENT 'What, such as erase, export, pause or replay',
    subject String COMMENT 'On whom or what: a profile id, the name of a journey or a segment; never an address',
    outcome LowCardinality(String) COMMENT 'done, failed, or refused: the right was missing',
    detail String CODEC(ZSTD(1)) COMMENT 'More, in words; never an address',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)) COMMENT 'When this row was written'
)
ENGINE = {{replicated}}ReplacingMergeTree(stored_at)
ORDER BY (acted_at, act_id)
COMMENT 'Acts of people on the deployment. Read v_audit_log.';

CREATE VIEW IF NOT EXISTS {{database}}.v_audit_log {{on_cluster}}
(
    act_id UUID COMMENT 'The act',
    acted_at DateTime64(3, 'UTC') COMMENT 'When',
    actor String COMMENT 'Who: the name of the sign-in, or of the user of the machine',
    via LowCardinality(String) COMMENT 'console or cli',
    act LowCardinality(String) COMMENT 'What, such as erase, export, pause or replay',
    subject String COMMENT 'On whom or what: a profile id, the name of a journey or a segment; never an address',
    outcome LowCardinality(String) COMMENT 'done, failed, or refused: the right was missing',
    detail String COMMENT 'More, in words; never an address'
)
AS SELECT act_id, acted_at, actor, via, act, subject, outcome, detail
FROM {{database}}.audit_log FINAL
COMMENT 'Who did what to whom or what, when, and how it ended, one row for each act of the console or the command line.';
