//! From the lines of the prices to a total: coupons, credits, taxes.
//!
//! Coupons and taxes look at [`portions`](super::portions); what these come to is told by price ([`Charged`]). What is given back
//! (a negative amount) takes no discount and no credit, has the discount taken back with which it was paid and the credits given back
//! that paid it ([`paid`](super::paid)), and lowers the tax by the rest.
//!
//! Credits are facts, not computed here: a ledger decides once which grant pays what ([`burnable`] is what it is asked to
//! pay), and the invoice is computed with its answer, now and whenever it is computed again.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};

use super::{
    AdvanceCharge, ComputedInvoice, InvoiceError, InvoiceInput, InvoiceKind, Line, LineRole, PriceLines,
    paid::{CouponShare, DiscountedUsage, credits_together, together},
    portions::{Of, Portion, portions},
};
use crate::{
    allocation::allocate,
    coupon::{self, CouponSpec, Discount, DiscountableLine},
    decimal::{Amount, Overflow, Quantity},
    ids::{CouponName, PlanName, PriceName},
    ledger::{Burn, BurnableLine, Burned, CreditShare},
    money::Currency,
    price::TraceStep,
    tax::{self, TaxRateSpec, TaxRounding, TaxableLine, Taxes},
};

/// What is taken off and added after the lines of the prices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adjustments {
    /// Those that hold in this period, in the order in which they were redeemed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coupons: Vec<CouponSpec>,
    /// What the customer's ledger took over of [`burnable`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits: Option<Burned>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tax_rates: Vec<TaxRateSpec>,
    #[serde(default)]
    pub tax_rounding: TaxRounding,
}

impl Adjustments {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What one price comes to on an invoice, from its lines to what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charged {
    pub plan: PlanName,
    pub price: PriceName,
    /// Its lines together, its own discount and its share of the plan's maximum off.
    pub net: Amount,
    /// What coupons take off, less what they have back of what is given back.
    pub discounts: Amount,
    /// What credits pay or carry, less what goes back to them.
    pub credits: Amount,
    /// Its share of all taxes, those within the amount too.
    pub tax: Amount,
}

/// What grants are asked to pay: each price's amount after discounts, in the order in which a [`Burned`] answers.
pub fn burnable(input: &InvoiceInput) -> Result<Vec<BurnableLine>, InvoiceError> {
    let lines = super::lines(input)?;
    let discounted = Discounted::of(input, &lines)?;
    let (charged, places) = discounted.charged()?;
    let lefts = discounted.left()?;
    let mut given_back: Vec<Vec<CreditShare>> = vec![Vec::new(); charged.len()];
    for ((portion, left), place) in discounted.portions.iter().zip(lefts).zip(places) {
        if left.is_negative() {
            given_back[place] = credits_together(&given_back[place], credited_back(portion, left, &lines)?)?;
        }
    }
    let mut burnable = Vec::with_capacity(charged.len());
    for (charged, given_back) in charged.iter().zip(given_back) {
        let amount = left(charged)?;
        let given_back = at_most(amount.negated(), given_back)?;
        burnable.push(BurnableLine { price: charged.price.clone(), amount, given_back });
    }
    Ok(burnable)
}

/// What portions of a price give back by what it charges besides is no more than the difference.
fn at_most(amount: Amount, shares: Vec<CreditShare>) -> Result<Vec<CreditShare>, Overflow> {
    let mut left = amount.max(Amount::ZERO);
    let mut kept = Vec::with_capacity(shares.len());
    for share in shares {
        let amount = share.amount.min(left);
        left = left.checked_sub(amount)?;
        if !amount.is_zero() {
            kept.push(CreditShare { amount, ..share });
        }
    }
    Ok(kept)
}

pub(super) fn settle(input: &InvoiceInput, lines: PriceLines) -> Result<ComputedInvoice, InvoiceError> {
    let discounted = Discounted::of(input, &lines)?;
    let (charged, places) = discounted.charged()?;
    let PriceLines { currency, mut lines, of_plans: _, late: _, paid: _ } = lines;
    let charged = credited(input, charged)?;
    let (charged, taxes) = taxed(input, currency, &discounted, charged, &places)?;
    for discount in discounted.given.iter().filter(|discount| !discount.amount.is_zero()) {
        lines.push(coupon_line(input, currency, discount)?);
    }
    for CouponShare { coupon, amount, fixed: _ } in &discounted.taken_back {
        let description = format!("Coupon {coupon}: taken back with what is given back");
        let step = TraceStep::Coupon { amount: *amount };
        lines.push(line(input, coupon.as_str(), LineRole::Discount, description, *amount, step)?);
    }
    if let Some(burned) = &input.adjustments.credits {
        for burn in &burned.burns {
            lines.push(grant_line(input, burn)?);
        }
        lines.extend(carried_lines(input, &charged, burned)?);
    }
    for applied in taxes.taxes.iter().filter(|applied| !applied.inclusive && !applied.amount.is_zero()) {
        lines.push(tax_line(input, applied)?);
    }
    let sum = |wanted: fn(LineRole) -> bool| {
        Amount::checked_sum(lines.iter().filter(|line| wanted(line.role)).map(|line| line.amount))
    };
    let subtotal = sum(|role| !matches!(role, LineRole::Discount | LineRole::Credit | LineRole::Tax))?;
    let discounts = sum(|role| role == LineRole::Discount)?.negated();
    let credits = sum(|role| role == LineRole::Credit)?.negated();
    Ok(ComputedInvoice {
        currency,
        subtotal,
        discounts,
        credits,
        tax: taxes.added,
        total: subtotal.checked_sub(discounts)?.checked_sub(credits)?.checked_add(taxes.added)?,
        taxes: taxes.taxes,
        charged,
        lines,
    })
}

/// What is left of a price to pay, before taxes that are added.
fn left(charged: &Charged) -> Result<Amount, Overflow> {
    charged.net.checked_sub(charged.discounts)?.checked_sub(charged.credits)
}

/// The portions of an invoice with what coupons take off them.
struct Discounted {
    portions: Vec<Portion>,
    /// Of each portion, what coupons take off it, less what they have back.
    discounts: Vec<Vec<CouponShare>>,
    /// What each coupon takes off, in their order.
    given: Vec<Discount>,
    /// What coupons have back, one amount for each; positive.
    taken_back: Vec<CouponShare>,
}

impl Discounted {
    fn of(input: &InvoiceInput, lines: &PriceLines) -> Result<Self, InvoiceError> {
        let portions = portions(lines)?;
        let discountable: Vec<DiscountableLine> = portions
            .iter()
            .map(|portion| DiscountableLine { price: portion.named(), amount: portion.net })
            .collect();
        let given = coupon::apply(&input.adjustments.coupons, &discountable, lines.currency)
            .map_err(|error| InvoiceError::Adjustment(error.to_string()))?;
        let coupons = || given.iter().zip(&input.adjustments.coupons);
        let mut discounts = Vec::with_capacity(portions.len());
        let mut all_back = Vec::new();
        for (place, portion) in portions.iter().enumerate() {
            let back = taken_back(portion, lines)?;
            all_back = together(&all_back, back.iter().cloned())?;
            let back: Vec<CouponShare> = back
                .into_iter()
                .map(|share| CouponShare { amount: share.amount.negated(), ..share })
                .collect();
            let given = coupons().map(|(discount, coupon)| CouponShare {
                coupon: discount.coupon.clone(),
                amount: discount.shares[place],
                fixed: coupon.amount.is_some(),
            });
            discounts.push(together(&back, given)?);
        }
        let mut discounted = Self { portions, discounts, given, taken_back: all_back };
        for coupon in fixed_before(lines) {
            discounted.take_fixed_back(&coupon, input, lines)?;
        }
        Ok(discounted)
    }

    /// A coupon of a fixed amount is given once a period, as far as the period comes to it. Where an earlier invoice of it charged what
    /// is given back now, and all that is left of the period does not come to what the coupon gave, it has the difference back.
    fn take_fixed_back(
        &mut self,
        coupon: &CouponName,
        input: &InvoiceInput,
        lines: &PriceLines,
    ) -> Result<(), InvoiceError> {
        let spec = input.adjustments.coupons.iter().find(|spec| spec.name == *coupon);
        let mut given = Amount::ZERO;
        let mut comes_to = Amount::ZERO;
        let mut weights = vec![Amount::ZERO; self.portions.len()];
        for paid in lines.paid.iter().filter(|paid| paid.is_of_same_period()) {
            given = given.checked_add(paid.fixed_share(coupon))?;
            let billed_here =
                self.portions.iter().any(|portion| portion.paid(std::slice::from_ref(paid)).next().is_some());
            if !billed_here && !paid.fixed_share(coupon).is_zero() {
                comes_to = comes_to.checked_add(without(coupon, paid.net, &paid.discounts)?)?;
            }
        }
        for (place, (portion, shares)) in self.portions.iter().zip(&self.discounts).enumerate() {
            let mut left = without(coupon, portion.net, shares)?;
            let mut share = Amount::ZERO;
            for paid in portion.paid(&lines.paid).filter(|paid| paid.is_of_same_period()) {
                left = left.checked_add(without(coupon, paid.net, &paid.discounts)?)?;
                share = share.checked_add(paid.fixed_share(coupon))?;
            }
            let line = DiscountableLine { price: portion.named(), amount: portion.net };
            if !share.is_zero() || spec.is_some_and(|spec| spec.covers(&line)) {
                comes_to = comes_to.checked_add(left.max(Amount::ZERO))?;
            }
            weights[place] = share;
            let here = shares.iter().filter(|share| share.coupon == *coupon).map(|share| share.amount);
            given = given.checked_add(Amount::checked_sum(here)?)?;
        }
        let back = given.checked_sub(comes_to)?;
        if back <= Amount::ZERO {
            return Ok(());
        }
        if weights.iter().all(|weight| weight.is_zero()) {
            // What gave the discount is not on this invoice: it is taken back with what is.
            for (weight, portion) in weights.iter_mut().zip(&self.portions) {
                *weight = portion.net.negated().max(Amount::ZERO);
            }
        }
        if weights.iter().all(|weight| weight.is_zero()) {
            // Nothing is given back here.
            return Ok(());
        }
        let share = |amount| CouponShare { coupon: coupon.clone(), amount, fixed: true };
        self.taken_back = together(&self.taken_back, [share(back)])?;
        let split = allocate(back, &weights, lines.currency)
            .map_err(|error| InvoiceError::Adjustment(error.to_string()))?;
        for (discounts, amount) in self.discounts.iter_mut().zip(split) {
            *discounts = together(discounts, [share(amount.negated())])?;
        }
        Ok(())
    }

    /// What coupons leave of each portion.
    fn left(&self) -> Result<Vec<Amount>, Overflow> {
        let left = |(portion, shares): (&Portion, &Vec<CouponShare>)| {
            let discounts = Amount::checked_sum(shares.iter().map(|share| share.amount))?;
            portion.net.checked_sub(discounts)
        };
        self.portions.iter().zip(&self.discounts).map(left).collect()
    }

    /// By price, in the order of the lines, with the place of each portion's price.
    fn charged(&self) -> Result<(Vec<Charged>, Vec<usize>), InvoiceError> {
        let mut charged: Vec<Charged> = Vec::new();
        let mut known: BTreeMap<(&PlanName, &PriceName), usize> = BTreeMap::new();
        let mut places = Vec::with_capacity(self.portions.len());
        for (portion, shares) in self.portions.iter().zip(&self.discounts) {
            let place = *known.entry((&portion.plan, &portion.price)).or_insert(charged.len());
            if place == charged.len() {
                charged.push(Charged {
                    plan: portion.plan.clone(),
                    price: portion.price.clone(),
                    net: Amount::ZERO,
                    discounts: Amount::ZERO,
                    credits: Amount::ZERO,
                    tax: Amount::ZERO,
                });
            }
            let price = &mut charged[place];
            price.net = price.net.checked_add(portion.net)?;
            for share in shares {
                price.discounts = price.discounts.checked_add(share.amount)?;
            }
            places.push(place);
        }
        Ok((charged, places))
    }
}

/// The coupons of a fixed amount that took something off what earlier invoices of the period charged.
fn fixed_before(lines: &PriceLines) -> BTreeSet<CouponName> {
    let paid = lines.paid.iter().filter(|paid| paid.is_of_same_period());
    let shares = paid.flat_map(|paid| &paid.discounts).filter(|share| share.fixed);
    shares.map(|share| share.coupon.clone()).collect()
}

/// What other coupons leave of an amount.
fn without(coupon: &CouponName, net: Amount, shares: &[CouponShare]) -> Result<Amount, Overflow> {
    let others = shares.iter().filter(|share| share.coupon != *coupon).map(|share| share.amount);
    net.checked_sub(Amount::checked_sum(others)?)
}

/// What coupons have back of what the portion gives back; positive.
fn taken_back(portion: &Portion, lines: &PriceLines) -> Result<Vec<CouponShare>, InvoiceError> {
    let mut given_back = portion.net.negated();
    let mut all = Vec::new();
    if given_back <= Amount::ZERO {
        // Most give nothing back, and need not look for who paid what among all the others.
        return Ok(all);
    }
    for paid in portion.paid(&lines.paid) {
        all = together(&all, paid.taken_back(given_back, lines.currency)?)?;
        given_back = given_back.checked_sub(paid.net.max(Amount::ZERO))?;
    }
    Ok(all)
}

/// What goes back to credits of what is `left` of a portion that gives something back; positive.
fn credited_back(
    portion: &Portion,
    left: Amount,
    lines: &PriceLines,
) -> Result<Vec<CreditShare>, InvoiceError> {
    let mut given_back = left.negated();
    let mut all = Vec::new();
    for paid in portion.paid(&lines.paid) {
        all = credits_together(&all, paid.credited_back(given_back, lines.currency)?)?;
        given_back = given_back.checked_sub(paid.asked()?.max(Amount::ZERO))?;
    }
    Ok(all)
}

/// What credits pay of each portion, or have back of it (negative), grant by grant.
fn credits_of_portions(
    input: &InvoiceInput,
    currency: Currency,
    discounted: &Discounted,
) -> Result<Vec<Vec<CreditShare>>, InvoiceError> {
    let mut of_portions: Vec<Vec<CreditShare>> = vec![Vec::new(); discounted.portions.len()];
    let Some(burned) = &input.adjustments.credits else { return Ok(of_portions) };
    let (charged, places) = discounted.charged()?;
    let by_price = by_price(&places, charged.len());
    let mut lefts = discounted.left()?;
    let by_grants = burned.burns.iter().map(|burn| (Some(&burn.grant), &burn.shares));
    for (grant, shares) in by_grants.chain([(None, &burned.carried)]) {
        let shares = shares.iter().enumerate().take(charged.len());
        for (index, share) in shares.filter(|(_, share)| !share.is_zero()) {
            for (place, part) in spread(*share, &by_price[index], &lefts, currency)? {
                lefts[place] = lefts[place].checked_sub(part)?;
                let share = CreditShare { grant: grant.cloned(), amount: part };
                of_portions[place] = credits_together(&of_portions[place], [share])?;
            }
        }
    }
    Ok(of_portions)
}

/// The portions of each price.
fn by_price(places: &[usize], prices: usize) -> Vec<Vec<usize>> {
    let mut by_price = vec![Vec::new(); prices];
    for (portion, price) in places.iter().enumerate() {
        by_price[*price].push(portion);
    }
    by_price
}

/// An amount of one price over its portions: what is paid over those that ask for something, what goes back (negative) over those that
/// give something back, by what is left of each.
fn spread(
    amount: Amount,
    portions: &[usize],
    lefts: &[Amount],
    currency: Currency,
) -> Result<Vec<(usize, Amount)>, InvoiceError> {
    let weight = |portion: &usize| match amount.is_negative() {
        false => lefts[*portion].max(Amount::ZERO),
        true => lefts[*portion].negated().max(Amount::ZERO),
    };
    let weights: Vec<Amount> = portions.iter().map(weight).collect();
    let shares =
        allocate(amount, &weights, currency).map_err(|error| InvoiceError::Adjustment(error.to_string()))?;
    Ok(portions.iter().copied().zip(shares).collect())
}

/// See [`super::charged_ahead`].
pub(super) fn charged_ahead(
    input: &InvoiceInput,
    lines: &PriceLines,
) -> Result<Vec<AdvanceCharge>, InvoiceError> {
    let mut charges: Vec<AdvanceCharge> = Vec::new();
    for line in &lines.lines[lines.late.end..] {
        let Some(plan) = &line.plan else { continue };
        match charges.iter_mut().find(|charge| charge.plan == *plan && charge.price == line.price) {
            Some(charge) => charge.amount = charge.amount.checked_add(line.amount)?,
            None => charges.push(AdvanceCharge {
                plan: plan.clone(),
                price: line.price.clone(),
                amount: line.amount,
                discounts: Vec::new(),
                credits: Vec::new(),
                at_start: input.kind == InvoiceKind::Opening,
            }),
        }
    }
    let discounted = Discounted::of(input, lines)?;
    let credits = credits_of_portions(input, lines.currency, &discounted)?;
    let Discounted { portions, discounts, given: _, taken_back: _ } = discounted;
    let ahead =
        portions.iter().zip(discounts).zip(credits).filter(|((portion, _), _)| portion.of == Of::Ahead);
    for ((portion, shares), credits) in ahead {
        let is_of =
            |charge: &&mut AdvanceCharge| charge.plan == portion.plan && charge.price == portion.price;
        if let Some(charge) = charges.iter_mut().find(is_of) {
            charge.discounts = together(&charge.discounts, shares)?;
            charge.credits = credits_together(&charge.credits, credits)?;
        }
    }
    Ok(charges)
}

/// Of each entry of `input.usage`, what this invoice and those before it charged for it, where coupons took something off or credits paid
/// some of it.
pub(super) fn discounted_usage(
    input: &InvoiceInput,
    lines: &PriceLines,
) -> Result<Vec<Option<DiscountedUsage>>, InvoiceError> {
    let discounted = Discounted::of(input, lines)?;
    let credits = credits_of_portions(input, lines.currency, &discounted)?;
    let Discounted { portions, discounts, given: _, taken_back: _ } = discounted;
    let of_usage = lines.paid.iter().filter(|paid| paid.is_at_threshold());
    let so_far = of_usage.map(|before| {
        let (mut amount, mut shares) = (before.net, before.discounts.clone());
        let mut paid = before.credits.clone();
        for ((portion, here), credits) in portions.iter().zip(&discounts).zip(&credits) {
            if portion.paid(std::slice::from_ref(before)).next().is_some() {
                amount = amount.checked_add(portion.net)?;
                shares = together(&shares, here.iter().cloned())?;
                paid = credits_together(&paid, credits.iter().cloned())?;
            }
        }
        let told = !(shares.is_empty() && paid.is_empty());
        Ok(told.then_some(DiscountedUsage { amount, discounts: shares, credits: paid }))
    });
    so_far.collect()
}

/// The ledger's answer belongs to exactly these amounts, and pays no more than them.
fn credited(input: &InvoiceInput, mut charged: Vec<Charged>) -> Result<Vec<Charged>, InvoiceError> {
    let Some(burned) = &input.adjustments.credits else { return Ok(charged) };
    let answers = burned.burns.iter().map(|burn| &burn.shares).chain([&burned.carried]);
    for shares in answers {
        if shares.len() != charged.len() {
            return Err(InvoiceError::Adjustment("the ledger's answer is to other amounts".to_owned()));
        }
        for (charged, share) in charged.iter_mut().zip(shares) {
            charged.credits = charged.credits.checked_add(*share)?;
        }
    }
    for charged in &charged {
        let left = left(charged)?;
        let too_much = match charged.credits.cmp(&Amount::ZERO) {
            Ordering::Greater => left.is_negative(),
            Ordering::Less => left > Amount::ZERO,
            Ordering::Equal => false,
        };
        if too_much {
            let problem = format!("credits pay more for price {} than it comes to", charged.price);
            return Err(InvoiceError::Adjustment(problem));
        }
    }
    Ok(charged)
}

/// Taxes are of the portions, what they come to is told of the prices: `places` says which portion is of which.
fn taxed(
    input: &InvoiceInput,
    currency: Currency,
    discounted: &Discounted,
    mut charged: Vec<Charged>,
    places: &[usize],
) -> Result<(Vec<Charged>, Taxes), InvoiceError> {
    let amounts = left_of_portions(currency, discounted, &charged, places)?;
    let lines: Vec<TaxableLine> = discounted
        .portions
        .iter()
        .zip(amounts)
        .map(|(portion, amount)| TaxableLine { price: portion.named(), amount })
        .collect();
    let Adjustments { coupons: _, credits: _, tax_rates, tax_rounding } = &input.adjustments;
    let mut taxes = tax::apply(tax_rates, *tax_rounding, &lines, currency)
        .map_err(|error| InvoiceError::Adjustment(error.to_string()))?;
    let by_price = |shares: &[Amount]| {
        let mut sums = vec![Amount::ZERO; charged.len()];
        for (place, share) in places.iter().zip(shares) {
            sums[*place] = sums[*place].checked_add(*share)?;
        }
        Ok::<_, Overflow>(sums)
    };
    for applied in &mut taxes.taxes {
        applied.shares = by_price(&applied.shares)?;
    }
    taxes.per_line = by_price(&taxes.per_line)?;
    for (charged, tax) in charged.iter_mut().zip(&taxes.per_line) {
        charged.tax = *tax;
    }
    Ok((charged, taxes))
}

/// What is left of each portion to pay: what credits pay of a price is spread over its portions.
fn left_of_portions(
    currency: Currency,
    discounted: &Discounted,
    charged: &[Charged],
    places: &[usize],
) -> Result<Vec<Amount>, InvoiceError> {
    let mut left = discounted.left()?;
    let by_price = by_price(places, charged.len());
    for (index, price) in charged.iter().enumerate().filter(|(_, price)| !price.credits.is_zero()) {
        for (portion, share) in spread(price.credits, &by_price[index], &left, currency)? {
            left[portion] = left[portion].checked_sub(share)?;
        }
    }
    Ok(left)
}

fn coupon_line(input: &InvoiceInput, currency: Currency, discount: &Discount) -> Result<Line, InvoiceError> {
    let coupon = input.adjustments.coupons.iter().find(|coupon| coupon.name == discount.coupon);
    let what = match coupon.map(|coupon| (coupon.percent, coupon.amount)) {
        Some((Some(percent), _)) => format!("{percent} % off"),
        Some((None, Some(amount))) => format!("{} off", currency.format(amount)),
        Some((None, None)) | None => "off".to_owned(),
    };
    let amount = discount.amount.negated();
    let description = format!("Coupon {}: {what}", discount.coupon);
    line(
        input,
        discount.coupon.as_str(),
        LineRole::Discount,
        description,
        amount,
        TraceStep::Coupon { amount },
    )
}

fn grant_line(input: &InvoiceInput, burn: &Burn) -> Result<Line, InvoiceError> {
    let amount = burn.amount.negated();
    let back = if burn.amount.is_negative() { ": given back" } else { "" };
    let description = format!("Credit {}{back}", burn.grant.name);
    let step = TraceStep::Credit { effective_at: burn.grant.effective_at, amount };
    line(input, burn.grant.name.as_str(), LineRole::Credit, description, amount, step)
}

/// What no grant covered and the ledger carries: not asked for now.
fn carried_lines(
    input: &InvoiceInput,
    charged: &[Charged],
    burned: &Burned,
) -> Result<Vec<Line>, InvoiceError> {
    let carried = charged.iter().zip(&burned.carried).filter(|(_, carried)| !carried.is_zero());
    carried
        .map(|(charged, carried)| {
            let amount = carried.negated();
            let what = match carried.is_negative() {
                false => "carried, for the next credits to pay",
                true => "what was carried is owed no more",
            };
            let description = format!("{}: {what}", charged.price);
            line(
                input,
                charged.price.as_str(),
                LineRole::Credit,
                description,
                amount,
                TraceStep::Carried { amount },
            )
        })
        .collect()
}

fn tax_line(input: &InvoiceInput, applied: &tax::AppliedTax) -> Result<Line, InvoiceError> {
    let tax::AppliedTax { name, percent, inclusive: _, base, amount, shares: _ } = applied;
    let step = TraceStep::Tax { percent: *percent, base: *base, amount: *amount };
    line(input, name.as_str(), LineRole::Tax, format!("{name} {percent} %"), *amount, step)
}

/// A line that comes from no price.
fn line(
    input: &InvoiceInput,
    name: &str,
    role: LineRole,
    description: String,
    amount: Amount,
    step: TraceStep,
) -> Result<Line, InvoiceError> {
    Ok(Line {
        plan: None,
        // Names of coupons, grants and tax rates keep to the rules of a price's name.
        price: PriceName::new(name).map_err(|problem| InvoiceError::Adjustment(problem.to_string()))?,
        role,
        description,
        meter: None,
        meter_version: None,
        period: input.period,
        quantity: Quantity::ONE,
        unit_amount: Some(amount),
        amount,
        trace: vec![step],
    })
}
