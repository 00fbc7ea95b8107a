-- What is issued follows from the terms as they stand then, not as they stood when its draft was computed. Only adds.

-- Raised whenever what a subscription is billed by changes: its terms, or the standing of an invoice that others of it count on.
-- A draft that was computed before is computed again.
ALTER TABLE subscriptions ADD COLUMN terms_version bigint NOT NULL DEFAULT 0;
ALTER TABLE invoices ADD COLUMN terms_version bigint NOT NULL DEFAULT 0;

-- Periods that are to be billed again: a sweep looks for those that nobody took up.
CREATE INDEX invoices_to_bill_again ON invoices (period_end, subscription_id) WHERE state = 'void' AND reissued AND part = 0;
