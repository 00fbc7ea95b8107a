-- What is issued follows from the terms as they stand then, not as they stood when its draft was computed. Only adds.

-- Raised whenever what a subscription is billed by changes: its terms, or the standing of an invoice that others of it count on.
-- A draft that was computed before is computed again.
ALTER TABLE subscriptions ADD COLUMN terms_version bigint NOT NULL DEFAULT 0;
ALTER TABLE invoices ADD COLUMN terms_version bigint NOT NULL DEFAULT 0;

-- Also for who does not know the column: a program of the version before, or somebody with psql.
CREATE FUNCTION raise_terms_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.terms_version := OLD.terms_version + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER raise_terms_version BEFORE UPDATE ON subscriptions FOR EACH ROW
    WHEN (NEW.terms_version = OLD.terms_version
        AND (NEW.terms, NEW.plans, NEW.plan_id, NEW.time_zone, NEW.anchor, NEW.starts_at, NEW.ends_at)
            IS DISTINCT FROM (OLD.terms, OLD.plans, OLD.plan_id, OLD.time_zone, OLD.anchor, OLD.starts_at, OLD.ends_at))
    EXECUTE FUNCTION raise_terms_version();

-- Periods that are to be billed again: a sweep looks for those that nobody took up.
CREATE INDEX invoices_to_bill_again ON invoices (period_end, subscription_id) WHERE state = 'void' AND reissued AND part = 0;
