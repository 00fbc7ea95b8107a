-- Subscriptions that change while they run: trials, plans, seats, add-ons, pauses. The changes are part of `terms`
-- (meridian_billing::subscription::CustomTerms); only adds.

-- The plans that the terms name beside the one that the subscription began with, by name: `plan_…`. Kept, so that a plan that is
-- made later under the same name does not take the place of the one that was chosen.
ALTER TABLE subscriptions ADD COLUMN plans jsonb NOT NULL DEFAULT '{}';

-- Invoices of a period that is not over, because its usage reached a threshold: part 1, 2, …; the period's own invoice is part 0.
-- A program of the version before cannot save invoices from here on (its ON CONFLICT names the old constraint): closing a period
-- waits, as for a store that is away, until the new worker runs.
ALTER TABLE invoices ADD COLUMN part integer NOT NULL DEFAULT 0 CHECK (part >= 0);
ALTER TABLE invoices DROP CONSTRAINT invoices_one_per_period;
ALTER TABLE invoices ADD CONSTRAINT invoices_one_per_period UNIQUE (tenant, subscription_id, period_start, part, revision);
