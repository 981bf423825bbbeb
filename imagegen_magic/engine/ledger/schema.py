"""The ledger's tables, as a list of the migrations from each format of the file to the next.

A format only adds to the one before it, so that a program of another version can use the file at the same time:

- a new table, index or view: nothing else to do. Version 0.1.0 uses such a file too;
- a column of `jobs`, `tasks` or `pictures`, nullable or with a default: `MIN_READER` becomes 5, since version 0.1.0 reads
  every column of these three. Prefer a new table, keyed by the task's row or the image's id;
- anything else (a column dropped or renamed, a new state, another meaning): `MIN_READER` becomes the new format, and older programs refuse
  the file with the command that updates them. Such a migration waits until no session of an older program is alive.

Append the statements to `_ADDITIONS` as one more tuple; never change a released one.
"""

from __future__ import annotations

import re

from imagegen_magic.engine.ledger.old_errors import old_error_record

_WITHOUT_SPACES = "[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"  # scripts without spaces between words


def searchable(text: str) -> str:
    """Return a text for the full-text index: each Chinese, Japanese or Korean character is a word."""
    return text if text.isascii() else re.sub(_WITHOUT_SPACES, lambda match: f" {match[0]} ", text)


FUNCTIONS = {"searchable": searchable, "old_error_record": old_error_record}
"""The SQL functions that the statements below call, each with one argument."""

_TABLES = (
    "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        created TEXT NOT NULL,
        provider TEXT NOT NULL,
        dialect TEXT NOT NULL,
        base_url TEXT NOT NULL,
        sandbox INTEGER NOT NULL,
        model TEXT NOT NULL,
        quality TEXT NOT NULL,
        tier TEXT NOT NULL,
        prompt TEXT NOT NULL,
        asked TEXT NOT NULL,
        resolved TEXT NOT NULL,
        expected TEXT NOT NULL,
        price TEXT NOT NULL,
        save_dir TEXT NOT NULL,
        name TEXT
    )""",
    """CREATE TABLE tasks (
        row INTEGER PRIMARY KEY AUTOINCREMENT,
        job INTEGER NOT NULL REFERENCES jobs (id),
        position INTEGER NOT NULL,
        first INTEGER NOT NULL,
        count INTEGER NOT NULL,
        state TEXT NOT NULL
            CHECK (state IN ('planned', 'submitting', 'submitted', 'made', 'saved', 'failed', 'unknown', 'dropped')),
        owner TEXT,
        task_id TEXT,
        cost TEXT NOT NULL,
        error TEXT,
        note TEXT,
        estimated_seconds REAL,
        seconds REAL,
        planned_at TEXT NOT NULL,
        submitting_at TEXT,
        submitted_at TEXT,
        made_at TEXT,
        saved_at TEXT,
        failed_at TEXT,
        unknown_at TEXT,
        dropped_at TEXT,
        idempotency_key TEXT NOT NULL,
        sent TEXT NOT NULL,
        answer TEXT
    )""",
    """CREATE TABLE pictures (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        task INTEGER NOT NULL REFERENCES tasks (row),
        position INTEGER NOT NULL,
        url TEXT NOT NULL,
        expires_at TEXT,
        path TEXT,
        sha256 TEXT,
        size INTEGER,
        width INTEGER,
        height INTEGER,
        mime_type TEXT,
        differences TEXT NOT NULL DEFAULT '[]',
        saved_at TEXT,
        UNIQUE (task, position)
    )""",
)
_QUERIES = (
    "CREATE INDEX open_tasks ON tasks (owner) WHERE state IN ('planned', 'submitting', 'submitted', 'made')",
    "CREATE INDEX tasks_of_job ON tasks (job)",
    "CREATE INDEX jobs_alike ON jobs (provider, model, quality, tier, sandbox)",
    """CREATE VIEW overview AS
        SELECT tasks.row AS task, jobs.created, jobs.provider, jobs.model, tasks.state, jobs.prompt, tasks.count AS pictures,
            (SELECT count(*) FROM pictures WHERE pictures.task = tasks.row AND pictures.saved_at IS NOT NULL) AS saved,
            (SELECT group_concat(pictures.path, ', ') FROM pictures WHERE pictures.task = tasks.row) AS files,
            tasks.cost, tasks.seconds, tasks.task_id, tasks.error, tasks.note, jobs.sandbox, tasks.owner
        FROM tasks JOIN jobs ON jobs.id = tasks.job ORDER BY tasks.row DESC""",
)
_RESEARCH = (
    "CREATE TABLE studies (id INTEGER PRIMARY KEY AUTOINCREMENT, created TEXT NOT NULL, prompt TEXT NOT NULL, axes TEXT NOT NULL,"
    " fixed TEXT NOT NULL DEFAULT '')",
    """CREATE TABLE members (
        study INTEGER NOT NULL REFERENCES studies (id),
        task INTEGER NOT NULL REFERENCES tasks (row),
        place TEXT NOT NULL,
        PRIMARY KEY (study, task)
    ) WITHOUT ROWID""",
    "CREATE INDEX studies_of_task ON members (task)",
    "ALTER TABLE tasks ADD COLUMN fingerprint TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX tasks_the_same ON tasks (fingerprint)",
    "CREATE INDEX jobs_by_time ON jobs (created)",
    "CREATE INDEX pictures_by_content ON pictures (sha256)",
    """CREATE TABLE sources (
        job INTEGER NOT NULL REFERENCES jobs (id),
        role TEXT NOT NULL CHECK (role IN ('reference', 'mask')),
        position INTEGER NOT NULL,
        name TEXT NOT NULL,
        picture INTEGER REFERENCES pictures (id),
        sha256 TEXT,
        PRIMARY KEY (job, role, position)
    ) WITHOUT ROWID""",
    "CREATE INDEX sources_of_picture ON sources (picture) WHERE picture IS NOT NULL",
    """CREATE TABLE uploads (
        sha256 TEXT NOT NULL,
        host TEXT NOT NULL,
        url TEXT NOT NULL,
        expires_at TEXT,
        size INTEGER NOT NULL,
        created TEXT NOT NULL,
        PRIMARY KEY (sha256, host)
    ) WITHOUT ROWID""",
    "CREATE TABLE drifts (picture INTEGER PRIMARY KEY REFERENCES pictures (id), share REAL NOT NULL, mean REAL NOT NULL)",
    "CREATE TABLE marks (picture INTEGER PRIMARY KEY REFERENCES pictures (id), stars INTEGER, note TEXT)",
    "CREATE TABLE tags (picture INTEGER NOT NULL REFERENCES pictures (id), tag TEXT NOT NULL, PRIMARY KEY (picture, tag)) WITHOUT ROWID",
    "CREATE INDEX tags_by_name ON tags (tag)",
    """CREATE TABLE votes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        created TEXT NOT NULL,
        study INTEGER REFERENCES studies (id),
        one INTEGER NOT NULL REFERENCES pictures (id),
        other INTEGER NOT NULL REFERENCES pictures (id),
        winner INTEGER REFERENCES pictures (id)
    )""",
    "CREATE TABLE budgets (per TEXT NOT NULL, unit TEXT NOT NULL, amount TEXT NOT NULL, session TEXT NOT NULL DEFAULT '', "
    "set_at TEXT NOT NULL, PRIMARY KEY (per, unit, session)) WITHOUT ROWID",
    "CREATE VIRTUAL TABLE prompts USING fts5 (words, content = '')",
    "INSERT INTO prompts (rowid, words) SELECT id, searchable(prompt || ' ' || coalesce(name, '')) FROM jobs",
)
_SESSIONS = (  # for the budget of a session
    "ALTER TABLE jobs ADD COLUMN session TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX jobs_of_session ON jobs (session)",
)
_FOLDERS = (  # of `resume DIR`: an image that was saved there just before a kill is found again
    """CREATE TABLE folders (
        task INTEGER NOT NULL REFERENCES tasks (row),
        folder TEXT NOT NULL,
        PRIMARY KEY (task, folder)
    ) WITHOUT ROWID""",
)
RECORD_OLD_ERRORS = """INSERT OR REPLACE INTO errors (task, message, error_type, charge, blame, hint, record)
    SELECT row, error, json_extract(record, '$.type'), json_extract(record, '$.charge'), json_extract(record, '$.blame'),
        json_extract(record, '$.hint'), record
    FROM (SELECT row, error, old_error_record(error) AS record FROM tasks WHERE error IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM errors WHERE errors.task = tasks.row AND errors.message = tasks.error))"""
"""Adds the missing records of errors: a version that writes sentences only may use the file beside this one."""
_ERRORS = (  # the error of a task as a record, as long as its message is the task's `error`
    """CREATE TABLE errors (
        task INTEGER PRIMARY KEY REFERENCES tasks (row),
        message TEXT NOT NULL,
        error_type TEXT NOT NULL,
        charge TEXT NOT NULL,
        blame TEXT NOT NULL,
        hint TEXT NOT NULL,
        record TEXT NOT NULL
    )""",
    "CREATE INDEX tasks_with_error ON tasks (row) WHERE error IS NOT NULL",
    RECORD_OLD_ERRORS,
)
_INQUIRIES = (  # what was asked about a submission of unknown outcome, when, and what came: `way` is repeat or list
    """CREATE TABLE inquiries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        task INTEGER NOT NULL REFERENCES tasks (row),
        way TEXT NOT NULL,
        asked_at TEXT NOT NULL,
        outcome TEXT,
        answer TEXT
    )""",
    "CREATE INDEX inquiries_of_task ON inquiries (task)",
)
_CHECKS = (  # whether an image is as it was requested: 1, 0, or NULL if nothing was requested
    "CREATE TABLE checks (picture INTEGER PRIMARY KEY REFERENCES pictures (id), pixels INTEGER, format INTEGER, alpha INTEGER)",
)
_SEEDS = (  # with which an image was made, requested or reported by the service
    "CREATE TABLE seeds (picture INTEGER PRIMARY KEY REFERENCES pictures (id), seed INTEGER NOT NULL)",
)
_SCORES = (  # of scorers; a call of a paid one is recorded before it is made
    """CREATE TABLE scorers (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        kind TEXT NOT NULL,
        better TEXT NOT NULL CHECK (better IN ('higher', 'lower', '')),
        minimum REAL,
        maximum REAL,
        source TEXT NOT NULL,
        packages TEXT NOT NULL,
        inputs TEXT NOT NULL,
        created TEXT NOT NULL,
        used TEXT NOT NULL,
        UNIQUE (name, fingerprint)
    )""",
    """CREATE TABLE scores (
        picture INTEGER NOT NULL REFERENCES pictures (id),
        scorer INTEGER NOT NULL REFERENCES scorers (id),
        inputs TEXT NOT NULL DEFAULT '',
        measure TEXT NOT NULL DEFAULT '',
        state TEXT NOT NULL CHECK (state IN ('measured', 'not applicable', 'failed')),
        value REAL CHECK ((value IS NOT NULL) = (state = 'measured')),
        reason TEXT NOT NULL DEFAULT '',
        error TEXT NOT NULL DEFAULT '',
        seconds REAL,
        cost TEXT NOT NULL,
        created TEXT NOT NULL,
        PRIMARY KEY (picture, scorer, inputs, measure)
    ) WITHOUT ROWID""",
    "CREATE INDEX scores_of_scorer ON scores (scorer)",
    """CREATE TABLE combination_scores (
        sweep INTEGER NOT NULL REFERENCES studies (id),
        scorer INTEGER NOT NULL REFERENCES scorers (id),
        combination TEXT NOT NULL,
        measure TEXT NOT NULL DEFAULT '',
        state TEXT NOT NULL CHECK (state IN ('measured', 'not applicable', 'failed')),
        value REAL CHECK ((value IS NOT NULL) = (state = 'measured')),
        pictures TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        error TEXT NOT NULL DEFAULT '',
        created TEXT NOT NULL,
        PRIMARY KEY (sweep, scorer, combination, measure)
    ) WITHOUT ROWID""",
    """CREATE TABLE score_calls (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        created TEXT NOT NULL,
        session TEXT NOT NULL,
        owner TEXT,
        scorer INTEGER NOT NULL REFERENCES scorers (id),
        picture INTEGER NOT NULL REFERENCES pictures (id),
        state TEXT NOT NULL CHECK (state IN ('calling', 'answered', 'failed', 'unknown')),
        price TEXT NOT NULL,
        cost TEXT NOT NULL
    )""",
    "CREATE INDEX score_calls_by_time ON score_calls (created)",
)
_DELETIONS = (  # images that were deleted: their rows stay, without words and addresses
    "CREATE TABLE deletions (picture INTEGER PRIMARY KEY REFERENCES pictures (id), deleted_at TEXT NOT NULL)",
)
_TEXTS = (  # what a service wrote beside the pictures of a task
    "CREATE TABLE texts (task INTEGER PRIMARY KEY REFERENCES tasks (row), text TEXT NOT NULL)",
)
_EFFECT_CHECKS = (  # at which numbers of values the effects on a score were compared
    """CREATE TABLE effect_checks (
        sweep INTEGER NOT NULL REFERENCES studies (id),
        score TEXT NOT NULL,
        size INTEGER NOT NULL,
        created TEXT NOT NULL,
        PRIMARY KEY (sweep, score, size)
    ) WITHOUT ROWID""",
)
_RATERS = (  # who made a vote, and where from; a vote without a row is of the person at the notebook
    """CREATE TABLE ballots (
        id TEXT PRIMARY KEY,
        created TEXT NOT NULL,
        sweep INTEGER,
        name TEXT NOT NULL,
        tokens TEXT NOT NULL,
        pairs TEXT NOT NULL
    )""",
    """CREATE TABLE vote_raters (
        vote INTEGER PRIMARY KEY REFERENCES votes (id) ON DELETE CASCADE,
        rater TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('person', 'judge')),
        sides TEXT NOT NULL DEFAULT '',
        ballot TEXT REFERENCES ballots (id),
        number INTEGER,
        milliseconds INTEGER,
        UNIQUE (ballot, number)
    )""",
)
_RESERVATIONS = (  # of a job's later lots: tasks that are not recorded yet, and what budgets keep free for them
    """CREATE TABLE reservations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        created TEXT NOT NULL,
        owner TEXT NOT NULL,
        tasks INTEGER NOT NULL,
        prices TEXT NOT NULL
    )""",
)
_ADDITIONS: tuple[tuple[str, ...], ...] = (
    _FOLDERS,
    _ERRORS,
    _INQUIRIES,
    _CHECKS,
    _SEEDS,
    _TEXTS,
    _SCORES,
    _DELETIONS,
    _EFFECT_CHECKS,
    _RATERS,
    _RESERVATIONS,
)  # since version 0.1.0, which knows format 4
MIGRATIONS = (_TABLES, _QUERIES, _RESEARCH, _SESSIONS, *_ADDITIONS)
"""The statements from each format of the file to the next."""
MIN_READER = 4
"""The oldest format whose programs can use a file of the newest one: they know less and lose nothing."""
