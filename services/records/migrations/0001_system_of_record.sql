-- The system of record. Money and quantities are NUMERIC(38,18); instants are timestamptz (microseconds).
--
-- Two walls keep tenants apart. The first is the Rust type `Scope`, without which no tenant query exists.
-- The second is here: row-level security, forced on the owner too. A transaction sees the rows of the tenant that its
-- setting `meridian.tenant` names, and nothing while it is unset. The few sweeps over all tenants say so by
-- `meridian.every_tenant`. Both are set for one transaction only. Superusers and roles with BYPASSRLS stand above
-- policies, so the services refuse to work as one.

-- Which program's schema this is; the migration program refuses to skip a minor version.
CREATE TABLE schema_info (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    program_version text NOT NULL,
    migrated_at     timestamptz NOT NULL DEFAULT now()
);

-- ---------------------------------------------------------------- who we serve

CREATE TABLE organizations (
    tenant        text PRIMARY KEY CHECK (tenant ~ '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$'),
    display_name  text NOT NULL DEFAULT '',
    time_zone     text NOT NULL DEFAULT 'UTC',
    billing_start timestamptz,
    version       integer NOT NULL DEFAULT 1 CHECK (version > 0),
    managed_by    text NOT NULL CHECK (managed_by IN ('kubernetes', 'api')),
    -- What the operator last told us, so that saying it again writes nothing.
    source_uid        text,
    source_generation bigint,
    source_digest     text,
    spec          jsonb NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    archived_at   timestamptz
);

CREATE TABLE memberships (
    tenant     text NOT NULL REFERENCES organizations (tenant),
    subject    text NOT NULL CHECK (subject <> ''),
    role       text NOT NULL CHECK (role IN ('OWNER', 'ADMIN', 'DEVELOPER', 'VIEWER')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, subject)
);

CREATE TABLE projects (
    tenant      text NOT NULL REFERENCES organizations (tenant),
    name        text NOT NULL CHECK (name <> ''),
    created_at  timestamptz NOT NULL DEFAULT now(),
    archived_at timestamptz,
    PRIMARY KEY (tenant, name)
);

CREATE TABLE api_keys (
    key_id     text PRIMARY KEY,
    tenant     text NOT NULL,
    project    text NOT NULL,
    name       text NOT NULL CHECK (name <> ''),
    key_hash   text NOT NULL CHECK (key_hash ~ '^[0-9a-f]{64}$'),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    FOREIGN KEY (tenant, project) REFERENCES projects (tenant, name)
);
CREATE UNIQUE INDEX api_keys_one_live_key_per_name ON api_keys (tenant, name) WHERE revoked_at IS NULL;
CREATE UNIQUE INDEX api_keys_one_live_key_per_hash ON api_keys (key_hash) WHERE revoked_at IS NULL;
CREATE INDEX api_keys_by_hash ON api_keys (key_hash);

CREATE TABLE customers (
    customer_id text PRIMARY KEY,
    tenant      text NOT NULL REFERENCES organizations (tenant),
    -- The name that the tenant's events use. '' is the tenant itself, billed by the platform.
    key         text NOT NULL,
    name        text NOT NULL DEFAULT '',
    time_zone   text NOT NULL DEFAULT 'UTC',
    metadata    jsonb NOT NULL DEFAULT '{}',
    managed_by  text NOT NULL CHECK (managed_by IN ('kubernetes', 'api')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    archived_at timestamptz,
    UNIQUE (tenant, key),
    UNIQUE (tenant, customer_id)
);
CREATE INDEX customers_in_order ON customers (tenant, customer_id);

-- ---------------------------------------------------------------- the catalogue

-- One row; its version grows with every change that the consumer must know of.
CREATE TABLE catalogue (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint NOT NULL
);
INSERT INTO catalogue (version) VALUES (1);

CREATE TABLE metrics (
    metric_id   text PRIMARY KEY,
    tenant      text REFERENCES organizations (tenant),   -- NULL: shared by every tenant of the region
    name        text NOT NULL CHECK (name <> ''),
    version     integer NOT NULL CHECK (version > 0),
    managed_by  text NOT NULL CHECK (managed_by IN ('kubernetes', 'api')),
    source_uid        text,
    source_generation bigint,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    archived_at timestamptz
);
CREATE UNIQUE INDEX metrics_names ON metrics (coalesce(tenant, ''), name);

CREATE TABLE metric_versions (
    metric_id  text NOT NULL REFERENCES metrics (metric_id),
    version    integer NOT NULL CHECK (version > 0),
    tenant     text,
    spec       jsonb NOT NULL,
    catalogue_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (metric_id, version)
);

CREATE TABLE plans (
    plan_id     text PRIMARY KEY,
    tenant      text REFERENCES organizations (tenant),
    name        text NOT NULL CHECK (name <> ''),
    version     integer NOT NULL CHECK (version > 0),
    managed_by  text NOT NULL CHECK (managed_by IN ('kubernetes', 'api')),
    source_uid        text,
    source_generation bigint,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    archived_at timestamptz
);
CREATE UNIQUE INDEX plans_names ON plans (coalesce(tenant, ''), name);

CREATE TABLE plan_versions (
    plan_id    text NOT NULL REFERENCES plans (plan_id),
    version    integer NOT NULL CHECK (version > 0),
    tenant     text,
    currency   text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    spec       jsonb NOT NULL,
    catalogue_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (plan_id, version)
);

-- Which meter each price of a plan version counts with.
CREATE TABLE plan_metrics (
    plan_id   text NOT NULL,
    version   integer NOT NULL,
    tenant    text,
    price     text NOT NULL,
    metric_id text NOT NULL REFERENCES metrics (metric_id),
    PRIMARY KEY (plan_id, version, price),
    FOREIGN KEY (plan_id, version) REFERENCES plan_versions (plan_id, version)
);

-- ---------------------------------------------------------------- who pays for what

CREATE TABLE subscriptions (
    subscription_id text PRIMARY KEY,
    tenant      text NOT NULL REFERENCES organizations (tenant),
    customer_id text NOT NULL,
    plan_id     text NOT NULL REFERENCES plans (plan_id),
    state       text NOT NULL CHECK (state IN ('active', 'cancelled', 'ended')),
    time_zone   text NOT NULL,
    -- How its periods are cut: see meridian_records::subscriptions::Anchor.
    anchor      jsonb NOT NULL,
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz,
    -- The first period without an issued invoice; both NULL when nothing is left to bill.
    next_period_start timestamptz,
    next_period_end   timestamptz,
    managed_by  text NOT NULL CHECK (managed_by IN ('kubernetes', 'api')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant, customer_id) REFERENCES customers (tenant, customer_id),
    UNIQUE (tenant, subscription_id),
    CHECK (ends_at IS NULL OR ends_at >= starts_at),
    CHECK ((next_period_start IS NULL) = (next_period_end IS NULL)),
    CHECK (next_period_end > next_period_start)
);
CREATE INDEX subscriptions_in_order ON subscriptions (tenant, subscription_id);
CREATE INDEX subscriptions_due ON subscriptions (next_period_end) WHERE next_period_end IS NOT NULL;
-- The operator keeps at most one subscription of a tenant to the platform itself.
CREATE UNIQUE INDEX subscriptions_one_from_kubernetes ON subscriptions (tenant, customer_id)
    WHERE managed_by = 'kubernetes' AND state = 'active';

CREATE TABLE aggregated_usage (
    tenant        text NOT NULL,
    customer_id   text NOT NULL,
    metric_id     text NOT NULL REFERENCES metrics (metric_id),
    period_start  timestamptz NOT NULL,
    period_end    timestamptz NOT NULL,
    quantity      numeric(38,18) NOT NULL,
    events        bigint NOT NULL CHECK (events >= 0),
    -- Only events stored before this instant are counted.
    stored_before timestamptz NOT NULL,
    computed_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, customer_id, metric_id, period_start, period_end),
    FOREIGN KEY (tenant, customer_id) REFERENCES customers (tenant, customer_id),
    CHECK (period_end > period_start)
);

-- ---------------------------------------------------------------- invoices

CREATE TABLE invoice_sequences (
    tenant text PRIMARY KEY REFERENCES organizations (tenant),
    last   bigint NOT NULL CHECK (last >= 0)
);

CREATE TABLE invoices (
    invoice_id      text PRIMARY KEY,
    tenant          text NOT NULL REFERENCES organizations (tenant),
    customer_id     text NOT NULL,
    subscription_id text NOT NULL,
    period_start    timestamptz NOT NULL,
    period_end      timestamptz NOT NULL,
    revision        integer NOT NULL DEFAULT 0 CHECK (revision >= 0),
    state           text NOT NULL CHECK (state IN ('draft', 'issued')),
    sequence        bigint,
    number          text,
    currency        text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    subtotal        numeric(38,18) NOT NULL,
    tax             numeric(38,18) NOT NULL,
    total           numeric(38,18) NOT NULL CHECK (total = subtotal + tax),
    -- What it was computed from, so that it can be computed again to the byte.
    plan_id           text NOT NULL,
    plan_version      integer NOT NULL,
    catalogue_version bigint NOT NULL,
    engine_version    bigint NOT NULL CHECK (engine_version > 0),
    stored_before     timestamptz NOT NULL,
    computation       text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    issued_at       timestamptz,
    FOREIGN KEY (tenant, customer_id) REFERENCES customers (tenant, customer_id),
    FOREIGN KEY (tenant, subscription_id) REFERENCES subscriptions (tenant, subscription_id),
    FOREIGN KEY (plan_id, plan_version) REFERENCES plan_versions (plan_id, version),
    CONSTRAINT invoices_one_per_period UNIQUE (tenant, subscription_id, period_start, revision),
    CONSTRAINT invoices_numbers UNIQUE (tenant, number),
    CONSTRAINT invoices_sequences UNIQUE (tenant, sequence),
    CHECK (period_end > period_start),
    CHECK ((state = 'issued') = (issued_at IS NOT NULL)),
    CHECK ((state = 'issued') = (number IS NOT NULL)),
    CHECK ((state = 'issued') = (sequence IS NOT NULL))
);
CREATE INDEX invoices_in_order ON invoices (tenant, invoice_id);
CREATE INDEX invoices_by_subscription ON invoices (tenant, subscription_id, period_start);

CREATE TABLE invoice_line_items (
    line_id      text PRIMARY KEY,
    invoice_id   text NOT NULL REFERENCES invoices (invoice_id),
    tenant       text NOT NULL,
    position     integer NOT NULL CHECK (position >= 0),
    price        text NOT NULL,
    description  text NOT NULL DEFAULT '',
    metric_id    text REFERENCES metrics (metric_id),
    metric_version integer,
    quantity     numeric(38,18) NOT NULL,
    amount       numeric(38,18) NOT NULL,
    period_start timestamptz NOT NULL,
    period_end   timestamptz NOT NULL,
    -- How the amount came about (tiers, packages, included units), as the engine said it.
    detail       jsonb NOT NULL DEFAULT '{}',
    UNIQUE (invoice_id, position)
);
CREATE INDEX invoice_line_items_by_tenant ON invoice_line_items (tenant, invoice_id);

-- ---------------------------------------------------------------- the rest

CREATE TABLE idempotency_keys (
    tenant       text NOT NULL REFERENCES organizations (tenant),
    key          text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request_hash text NOT NULL,
    -- Whatever the request makes takes its id from this, so that a second attempt after a crash finds it.
    seed         uuid NOT NULL,
    claimed_at   timestamptz NOT NULL DEFAULT now(),
    status       smallint,
    response     text,
    finished_at  timestamptz,
    PRIMARY KEY (tenant, key),
    CHECK ((status IS NULL) = (finished_at IS NULL))
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (claimed_at);

CREATE TABLE audit_logs (
    audit_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant      text,                       -- NULL: the region's own catalogue
    at          timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL CHECK (actor <> ''),
    action      text NOT NULL CHECK (action <> ''),
    entity      text NOT NULL,
    reason      text NOT NULL CHECK (reason <> ''),
    detail      jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_logs_by_tenant ON audit_logs (tenant, audit_id);
CREATE INDEX audit_logs_by_entity ON audit_logs (entity, audit_id);

-- How far each source of events is known to be processed. Not a tenant's data.
CREATE TABLE pipeline_progress (
    source            text PRIMARY KEY,
    processed_through timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL DEFAULT now()
);

-- ---------------------------------------------------------------- what may never change

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'MR001';
END $$;

CREATE FUNCTION keep_issued_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE lines_sum numeric;
BEGIN
    IF OLD.state = 'issued' THEN
        RAISE EXCEPTION 'invoice % is issued: % refused', OLD.invoice_id, TG_OP USING ERRCODE = 'MR001';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    IF NEW.state = 'issued' THEN
        SELECT coalesce(sum(amount), 0) INTO lines_sum FROM invoice_line_items WHERE invoice_id = NEW.invoice_id;
        IF lines_sum <> NEW.subtotal THEN
            RAISE EXCEPTION 'invoice %: lines add up to %, its subtotal says %', NEW.invoice_id, lines_sum, NEW.subtotal
                USING ERRCODE = 'MR002';
        END IF;
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION keep_issued_lines() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE found_state text;
DECLARE touched text := CASE TG_OP WHEN 'INSERT' THEN NEW.invoice_id ELSE OLD.invoice_id END;
BEGIN
    -- The row lock orders this line's change against a concurrent issue of its invoice.
    SELECT state INTO found_state FROM invoices WHERE invoice_id = touched FOR UPDATE;
    IF found_state IS DISTINCT FROM 'draft' OR (TG_OP = 'UPDATE' AND NEW.invoice_id <> OLD.invoice_id) THEN
        RAISE EXCEPTION 'lines of invoice % are frozen: % refused', touched, TG_OP USING ERRCODE = 'MR001';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;

CREATE TRIGGER keep_issued BEFORE UPDATE OR DELETE ON invoices FOR EACH ROW EXECUTE FUNCTION keep_issued_invoice();
CREATE TRIGGER keep_issued BEFORE INSERT OR UPDATE OR DELETE ON invoice_line_items FOR EACH ROW EXECUTE FUNCTION keep_issued_lines();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON invoices EXECUTE FUNCTION refuse_change();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON invoice_line_items EXECUTE FUNCTION refuse_change();

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['metric_versions', 'plan_versions', 'plan_metrics', 'audit_logs'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', t);
        EXECUTE format('CREATE TRIGGER keep_all BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', t);
    END LOOP;
END $$;

-- ---------------------------------------------------------------- the second wall

CREATE FUNCTION current_tenant() RETURNS text LANGUAGE sql STABLE AS
    $$ SELECT nullif(current_setting('meridian.tenant', true), '') $$;
CREATE FUNCTION every_tenant() RETURNS boolean LANGUAGE sql STABLE AS
    $$ SELECT coalesce(current_setting('meridian.every_tenant', true), '') = 'on' $$;

DO $$
DECLARE t text;
BEGIN
    -- A tenant's own rows.
    FOREACH t IN ARRAY ARRAY['organizations', 'memberships', 'projects', 'api_keys', 'customers', 'subscriptions',
                             'aggregated_usage', 'invoice_sequences', 'invoices', 'invoice_line_items',
                             'idempotency_keys', 'audit_logs'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_rows ON %I USING (tenant = current_tenant() OR every_tenant())', t);
    END LOOP;
    -- The catalogue: a tenant reads the shared part and its own; only the control port's sweeping transactions write.
    FOREACH t IN ARRAY ARRAY['metrics', 'metric_versions', 'plans', 'plan_versions', 'plan_metrics'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($p$CREATE POLICY own_or_shared ON %I FOR SELECT
            USING (every_tenant() OR (current_tenant() IS NOT NULL AND (tenant IS NULL OR tenant = current_tenant())))$p$, t);
        EXECUTE format('CREATE POLICY control_port ON %I USING (every_tenant())', t);
    END LOOP;
    ALTER TABLE pipeline_progress ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY pipeline ON pipeline_progress USING (every_tenant());
END $$;
