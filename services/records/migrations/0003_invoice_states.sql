-- What becomes of an invoice after issue: paid, void, issued again; and credit notes. Only adds: a program of the version before
-- goes on with drafts and issued invoices, and fails on one that is paid or void, loudly and until it is replaced.

ALTER TABLE invoices
    -- Raised by one with each change: of two that were decided on the same version, one is carried out.
    ADD COLUMN version           bigint NOT NULL DEFAULT 1 CHECK (version > 0),
    -- A void invoice whose period is computed again, as the next revision.
    ADD COLUMN reissued          boolean NOT NULL DEFAULT false,
    ADD COLUMN paid_at           timestamptz,
    ADD COLUMN payment_reference text CHECK (payment_reference <> ''),
    ADD COLUMN voided_at         timestamptz,
    ADD COLUMN void_reason       text CHECK (void_reason <> ''),
    -- The seed of the request that changed it last, so that a second attempt after a crash finds the change made.
    ADD COLUMN change_seed       uuid;

-- What was said of issued invoices holds for what they become, too.
DO $$
DECLARE old_check text;
BEGIN
    FOR old_check IN
        SELECT conname FROM pg_constraint
        WHERE conrelid = 'invoices'::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%''issued''%'
    LOOP
        EXECUTE format('ALTER TABLE invoices DROP CONSTRAINT %I', old_check);
    END LOOP;
END $$;
ALTER TABLE invoices
    -- A skipped one asked for nothing and was never issued.
    ADD CONSTRAINT invoices_states CHECK (state IN ('draft', 'skipped', 'issued', 'paid', 'void')),
    ADD CONSTRAINT invoices_issue_is_whole CHECK (
        (state NOT IN ('draft', 'skipped')) = (issued_at IS NOT NULL)
        AND (state NOT IN ('draft', 'skipped')) = (number IS NOT NULL)
        AND (state NOT IN ('draft', 'skipped')) = (sequence IS NOT NULL)),
    ADD CONSTRAINT invoices_payment_is_whole CHECK (
        (state = 'paid') = (paid_at IS NOT NULL) AND (state = 'paid' OR payment_reference IS NULL)),
    ADD CONSTRAINT invoices_void_is_whole CHECK (
        (state = 'void') = (voided_at IS NOT NULL) AND (state = 'void') = (void_reason IS NOT NULL)),
    ADD CONSTRAINT invoices_void_before_reissue CHECK (state = 'void' OR NOT reissued),
    -- For credit notes, which name the tenant and the invoice together.
    ADD CONSTRAINT invoices_of_tenants UNIQUE (tenant, invoice_id);
-- The constraint's own index is in the same order.
DROP INDEX invoices_in_order;

-- An issued invoice is paid or void, once; a void one is issued again, once. Its lines, amounts, number and computation stay,
-- and so does every column that is still to come: what may change is named here, not what may not.
CREATE OR REPLACE FUNCTION keep_issued_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE lines_sum numeric;
DECLARE rest invoices%ROWTYPE;
BEGIN
    IF OLD.state <> 'draft' THEN
        IF TG_OP = 'UPDATE' THEN
            rest := NEW;
            rest.state := OLD.state;
            rest.version := OLD.version;
            rest.change_seed := OLD.change_seed;
            rest.updated_at := OLD.updated_at;
            IF OLD.state = 'issued' AND NEW.state = 'paid' THEN
                rest.paid_at := OLD.paid_at;
                rest.payment_reference := OLD.payment_reference;
            ELSIF OLD.state = 'issued' AND NEW.state = 'void' THEN
                rest.voided_at := OLD.voided_at;
                rest.void_reason := OLD.void_reason;
            ELSIF OLD.state = 'void' AND NEW.state = 'void' AND NOT OLD.reissued AND NEW.reissued THEN
                rest.reissued := OLD.reissued;
            ELSE
                RAISE EXCEPTION 'invoice % is %: % refused', OLD.invoice_id, OLD.state, TG_OP USING ERRCODE = 'MR001';
            END IF;
            IF rest IS NOT DISTINCT FROM OLD AND NEW.version IS NOT DISTINCT FROM OLD.version + 1 THEN
                RETURN NEW;
            END IF;
        END IF;
        RAISE EXCEPTION 'invoice % is %: % refused', OLD.invoice_id, OLD.state, TG_OP USING ERRCODE = 'MR001';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    IF NEW.state NOT IN ('draft', 'skipped', 'issued') THEN
        RAISE EXCEPTION 'invoice % is a draft: it is issued before it is %', OLD.invoice_id, NEW.state USING ERRCODE = 'MR001';
    END IF;
    IF NEW.state <> 'draft' THEN
        SELECT coalesce(sum(amount), 0) INTO lines_sum FROM invoice_line_items WHERE invoice_id = NEW.invoice_id;
        IF lines_sum <> NEW.total THEN
            RAISE EXCEPTION 'invoice %: lines add up to %, its total says %', NEW.invoice_id, lines_sum, NEW.total
                USING ERRCODE = 'MR002';
        END IF;
    END IF;
    RETURN NEW;
END $$;

-- ---------------------------------------------------------------- credit notes

CREATE TABLE credit_note_sequences (
    tenant text PRIMARY KEY REFERENCES organizations (tenant),
    last   bigint NOT NULL CHECK (last >= 0)
);

CREATE TABLE credit_notes (
    credit_note_id text PRIMARY KEY,
    tenant      text NOT NULL REFERENCES organizations (tenant),
    invoice_id  text NOT NULL,
    sequence    bigint NOT NULL CHECK (sequence > 0),
    number      text NOT NULL CHECK (number <> ''),
    currency    text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- All that goes back, the taxes that were added too.
    total       numeric(38,18) NOT NULL CHECK (total > 0),
    -- As it was computed: meridian_billing::credit_note::CreditNote. Its lines are places in what the invoice charged.
    note        jsonb NOT NULL,
    reason      text NOT NULL CHECK (reason <> ''),
    created_at  timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant, invoice_id) REFERENCES invoices (tenant, invoice_id),
    CONSTRAINT credit_notes_numbers UNIQUE (tenant, number),
    CONSTRAINT credit_notes_sequences UNIQUE (tenant, sequence)
);
CREATE INDEX credit_notes_by_invoice ON credit_notes (tenant, invoice_id, credit_note_id);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON credit_notes FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON credit_notes EXECUTE FUNCTION refuse_change();

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['credit_note_sequences', 'credit_notes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY own_rows ON %I USING (tenant = current_tenant() OR every_tenant())', t);
    END LOOP;
END $$;
