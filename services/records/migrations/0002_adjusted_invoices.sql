-- Invoices with discounts and credits, and subscriptions with terms of their own. Only adds: a program of the version before
-- goes on writing invoices without either.

-- Seats, overrides, coupons, tax rates: meridian_billing::subscription::CustomTerms.
ALTER TABLE subscriptions ADD COLUMN terms jsonb NOT NULL DEFAULT '{}';

ALTER TABLE invoices
    ADD COLUMN discounts numeric(38,18) NOT NULL DEFAULT 0 CHECK (discounts >= 0),
    ADD COLUMN credits   numeric(38,18) NOT NULL DEFAULT 0 CHECK (credits >= 0);

DO $$
DECLARE old_sum text;
BEGIN
    SELECT conname INTO STRICT old_sum FROM pg_constraint
    WHERE conrelid = 'invoices'::regclass AND pg_get_constraintdef(oid) LIKE '%(total = (subtotal + tax))%';
    EXECUTE format('ALTER TABLE invoices DROP CONSTRAINT %I', old_sum);
END $$;
ALTER TABLE invoices ADD CONSTRAINT invoices_total CHECK (total = subtotal - discounts - credits + tax);

-- The lines of an issued invoice add up to its total: discounts, credits and taxes are lines too.
CREATE OR REPLACE FUNCTION keep_issued_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
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
        IF lines_sum <> NEW.total THEN
            RAISE EXCEPTION 'invoice %: lines add up to %, its total says %', NEW.invoice_id, lines_sum, NEW.total
                USING ERRCODE = 'MR002';
        END IF;
    END IF;
    RETURN NEW;
END $$;
