-- Coupons that subscriptions redeem, and prepaid credits that invoices spend. Only adds: a program of the version before goes
-- on as it did, and takes neither off an invoice.

-- ---------------------------------------------------------------- coupons

-- meridian_billing::coupon::CouponSpec. It never changes: whoever redeemed it keeps what was promised.
CREATE TABLE coupons (
    coupon_id   text PRIMARY KEY,
    tenant      text NOT NULL REFERENCES organizations (tenant),
    name        text NOT NULL CHECK (name <> ''),
    spec        jsonb NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    archived_at timestamptz,
    -- An archived coupon keeps its name: invoices tell of it.
    UNIQUE (tenant, name)
);
CREATE INDEX coupons_in_order ON coupons (tenant, coupon_id);

CREATE TABLE coupon_redemptions (
    tenant          text NOT NULL,
    coupon          text NOT NULL,
    subscription_id text NOT NULL,
    redeemed_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant, subscription_id, coupon),
    FOREIGN KEY (tenant, coupon) REFERENCES coupons (tenant, name),
    FOREIGN KEY (tenant, subscription_id) REFERENCES subscriptions (tenant, subscription_id)
);
-- Counting what is left of a coupon.
CREATE INDEX coupon_redemptions_by_coupon ON coupon_redemptions (tenant, coupon);

-- ---------------------------------------------------------------- credits

-- One row for each ledger that exists: the row that is locked by whoever writes to the ledger, and when it is due. It says
-- nothing of amounts: those are folds over the postings.
CREATE TABLE ledgers (
    tenant      text NOT NULL,
    customer_id text NOT NULL,
    currency    text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- When time alone changes something next (a grant begins, recurs or ends); NULL: never.
    due_at      timestamptz,
    PRIMARY KEY (tenant, customer_id, currency),
    FOREIGN KEY (tenant, customer_id) REFERENCES customers (tenant, customer_id)
);
CREATE INDEX ledgers_due ON ledgers (due_at) WHERE due_at IS NOT NULL;

-- meridian_billing::ledger::GrantSpec, with the zone in which it recurs: the customer's may change later, and a recurrence
-- that moved would be given twice.
CREATE TABLE credit_grants (
    grant_id    text PRIMARY KEY,
    tenant      text NOT NULL,
    customer_id text NOT NULL,
    currency    text NOT NULL,
    name        text NOT NULL CHECK (name <> ''),
    time_zone   text NOT NULL,
    spec        jsonb NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant, customer_id, currency, name),
    FOREIGN KEY (tenant, customer_id, currency) REFERENCES ledgers (tenant, customer_id, currency)
);

-- meridian_billing::ledger::Entry. `seq` counts 1, 2, 3 … within the ledger; `key` is what the entry is about.
CREATE TABLE ledger_entries (
    tenant      text NOT NULL,
    customer_id text NOT NULL,
    currency    text NOT NULL,
    seq         bigint NOT NULL CHECK (seq > 0),
    key         text NOT NULL CHECK (key <> ''),
    -- When it took effect; it may be long before it was appended.
    at          timestamptz NOT NULL,
    kind        jsonb NOT NULL,
    -- How many postings it has, so that none can be added later.
    postings    integer NOT NULL CHECK (postings >= 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, customer_id, currency, seq),
    UNIQUE (tenant, customer_id, currency, key),
    FOREIGN KEY (tenant, customer_id, currency) REFERENCES ledgers (tenant, customer_id, currency)
);

CREATE TABLE ledger_postings (
    tenant      text NOT NULL,
    customer_id text NOT NULL,
    currency    text NOT NULL,
    seq         bigint NOT NULL,
    position    integer NOT NULL CHECK (position >= 0),
    account     jsonb NOT NULL,
    amount      numeric(38,18) NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (tenant, customer_id, currency, seq, position),
    FOREIGN KEY (tenant, customer_id, currency, seq) REFERENCES ledger_entries (tenant, customer_id, currency, seq)
);

-- ---------------------------------------------------------------- what may never change

-- Looks when the transaction ends, for an entry comes before its postings.
CREATE FUNCTION keep_ledger_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said integer;
    found integer;
    postings_sum numeric;
BEGIN
    SELECT postings INTO STRICT said FROM ledger_entries
    WHERE tenant = NEW.tenant AND customer_id = NEW.customer_id AND currency = NEW.currency AND seq = NEW.seq;
    SELECT count(*), coalesce(sum(amount), 0) INTO found, postings_sum FROM ledger_postings
    WHERE tenant = NEW.tenant AND customer_id = NEW.customer_id AND currency = NEW.currency AND seq = NEW.seq;
    IF found <> said OR postings_sum <> 0 THEN
        RAISE EXCEPTION 'entry % of the ledger of % in %: % of % postings, which sum to % and not to zero',
            NEW.seq, NEW.customer_id, NEW.currency, found, said, postings_sum USING ERRCODE = 'MR003';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER keep_balanced AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION keep_ledger_balanced();
CREATE CONSTRAINT TRIGGER keep_balanced AFTER INSERT ON ledger_postings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION keep_ledger_balanced();

-- A coupon is archived, and else stays as it was written.
CREATE FUNCTION keep_coupon() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (NEW.coupon_id, NEW.tenant, NEW.name, NEW.spec, NEW.created_at)
            IS DISTINCT FROM (OLD.coupon_id, OLD.tenant, OLD.name, OLD.spec, OLD.created_at) THEN
        RAISE EXCEPTION 'coupon % does not change: % refused', OLD.name, TG_OP USING ERRCODE = 'MR001';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_coupon BEFORE UPDATE OR DELETE ON coupons FOR EACH ROW EXECUTE FUNCTION keep_coupon();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON coupons EXECUTE FUNCTION refuse_change();

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['coupon_redemptions', 'credit_grants', 'ledger_entries', 'ledger_postings'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', t);
        EXECUTE format('CREATE TRIGGER keep_all BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', t);
    END LOOP;
END $$;

-- ---------------------------------------------------------------- the second wall

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['coupons', 'coupon_redemptions', 'ledgers', 'credit_grants', 'ledger_entries', 'ledger_postings'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_rows ON %I USING (tenant = current_tenant() OR every_tenant())', t);
    END LOOP;
END $$;
