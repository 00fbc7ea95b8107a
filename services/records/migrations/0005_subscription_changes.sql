-- Subscriptions that change while they run: trials, plans, seats, add-ons, pauses. The changes are part of `terms`
-- (meridian_billing::subscription::CustomTerms); only adds.

-- The plans that the terms name beside the one that the subscription began with, by name: `plan_…`. Kept, so that a plan that is
-- made later under the same name does not take the place of the one that was chosen.
ALTER TABLE subscriptions ADD COLUMN plans jsonb NOT NULL DEFAULT '{}';
