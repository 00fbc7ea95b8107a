-- What is checked when many invoices are issued at once is checked for each statement and no longer for each row: at the end of a
-- month that was more than half of what the database did. The guarantees stay; a program of the version before goes on as it did.

-- Each of these begins with the columns, in their order, of a unique constraint's own index.
DROP INDEX customers_in_order;
DROP INDEX subscriptions_in_order;
DROP INDEX invoices_by_subscription;
-- A line is found by its invoice, which is one tenant's.
DROP INDEX invoice_line_items_by_tenant;

-- Foreign keys are looked up row by row. These say what something else holds as well:
-- - aggregated_usage is a cache that can be computed again, of customers and meters that nothing deletes;
-- - the tenant of an invoice is that of its customer, whose own key leads to the organization;
-- - the invoice and the meter of a line: keep_issued_lines_of_statement below.
DO $$
DECLARE key record;
BEGIN
    FOR key IN
        SELECT conrelid::regclass AS of, conname FROM pg_constraint
        WHERE contype = 'f' AND (conrelid = 'aggregated_usage'::regclass OR conrelid = 'invoice_line_items'::regclass
            OR conrelid = 'invoices'::regclass AND confrelid = 'organizations'::regclass)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', key.of, key.conname);
    END LOOP;
END $$;

-- ---------------------------------------------------------------- lines

-- New lines are those of drafts of their own tenant, and count by meters that are there. They are looked at when they are in: what
-- is refused here takes the whole statement back.
CREATE FUNCTION keep_issued_lines_of_statement() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE touched text;
BEGIN
    -- The row locks order these lines against a concurrent issue of their invoices: who comes second sees what the first one did.
    -- Everybody takes them in one order. (Here and below the questions are put so that each invoice is looked up by its key, whatever
    -- the planner thinks of the size of the tables.)
    PERFORM FROM invoices WHERE invoice_id = ANY (ARRAY(SELECT DISTINCT invoice_id FROM added)) ORDER BY invoice_id FOR UPDATE;
    SELECT a.invoice_id INTO touched FROM (SELECT DISTINCT tenant, invoice_id FROM added) a
        WHERE (SELECT i.state FROM invoices i WHERE i.invoice_id = a.invoice_id AND i.tenant = a.tenant) IS DISTINCT FROM 'draft';
    IF FOUND THEN
        RAISE EXCEPTION 'lines of invoice % are frozen: % refused', touched, TG_OP USING ERRCODE = 'MR001';
    END IF;
    SELECT a.metric_id INTO touched FROM (SELECT DISTINCT metric_id FROM added WHERE metric_id IS NOT NULL) a
        LEFT JOIN metrics m USING (metric_id) WHERE m.metric_id IS NULL;
    IF FOUND THEN
        RAISE EXCEPTION 'meter % of a line is not there', touched USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;

-- Updating and deleting lines is rare; it is looked at as ever (0001).
DROP TRIGGER keep_issued ON invoice_line_items;
CREATE TRIGGER keep_issued BEFORE UPDATE OR DELETE ON invoice_line_items FOR EACH ROW EXECUTE FUNCTION keep_issued_lines();
CREATE TRIGGER keep_issued_from_more AFTER INSERT ON invoice_line_items REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION keep_issued_lines_of_statement();

-- A line keeps the meter that it was made with.
CREATE TRIGGER keep_meter BEFORE UPDATE ON invoice_line_items
    FOR EACH ROW WHEN (OLD.metric_id IS DISTINCT FROM NEW.metric_id) EXECUTE FUNCTION refuse_change();

-- ---------------------------------------------------------------- invoices

-- What a change of one invoice may be. As in 0003, but that the sum of the lines is looked at by keep_sums, and that nothing leaves
-- lines without their invoice.
CREATE OR REPLACE FUNCTION keep_issued_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
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
        IF EXISTS (SELECT FROM invoice_line_items WHERE invoice_id = OLD.invoice_id) THEN
            RAISE EXCEPTION 'invoice % has lines: % refused', OLD.invoice_id, TG_OP USING ERRCODE = 'foreign_key_violation';
        END IF;
        RETURN OLD;
    END IF;
    IF (NEW.tenant, NEW.invoice_id) IS DISTINCT FROM (OLD.tenant, OLD.invoice_id) THEN
        RAISE EXCEPTION 'invoice % keeps its id and its tenant', OLD.invoice_id USING ERRCODE = 'MR001';
    END IF;
    IF NEW.state NOT IN ('draft', 'skipped', 'issued') THEN
        RAISE EXCEPTION 'invoice % is a draft: it is issued before it is %', OLD.invoice_id, NEW.state USING ERRCODE = 'MR001';
    END IF;
    RETURN NEW;
END $$;

-- The draft that is refused nothing is the most frequent by far, and is passed without a call.
DROP TRIGGER keep_issued ON invoices;
CREATE TRIGGER keep_issued BEFORE UPDATE ON invoices FOR EACH ROW
    WHEN (OLD.state <> 'draft' OR NEW.state NOT IN ('draft', 'skipped', 'issued')
        OR NEW.tenant <> OLD.tenant OR NEW.invoice_id <> OLD.invoice_id)
    EXECUTE FUNCTION keep_issued_invoice();
CREATE TRIGGER keep_issued_whole BEFORE DELETE ON invoices FOR EACH ROW EXECUTE FUNCTION keep_issued_invoice();

-- The lines of what was a draft and is none any more add up to its total.
CREATE FUNCTION keep_sums_of_issued() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong text;
    said numeric;
    found_sum numeric;
BEGIN
    WITH frozen AS MATERIALIZED (
        SELECT now.invoice_id, now.total FROM changed_to now JOIN changed_from was USING (invoice_id)
        WHERE was.state = 'draft' AND now.state <> 'draft'
    ), added_up AS MATERIALIZED (
        SELECT invoice_id, total,
            (SELECT coalesce(sum(l.amount), 0) FROM invoice_line_items l WHERE l.invoice_id = frozen.invoice_id) AS lines_sum
        FROM frozen
    )
    SELECT invoice_id, total, lines_sum INTO wrong, said, found_sum FROM added_up WHERE lines_sum <> total;
    IF FOUND THEN
        RAISE EXCEPTION 'invoice %: lines add up to %, its total says %', wrong, found_sum, said USING ERRCODE = 'MR002';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER keep_sums AFTER UPDATE ON invoices REFERENCING OLD TABLE AS changed_from NEW TABLE AS changed_to
    FOR EACH STATEMENT EXECUTE FUNCTION keep_sums_of_issued();
