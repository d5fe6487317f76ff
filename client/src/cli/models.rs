//! `tollctl models`: what the key may ask for, and what it costs.

use tollgate_client::api::v1::{ListModelsResponse, Model};

use super::{
    Context, amount,
    failure::Failure,
    json,
    table::{Column, Table},
};

/// Runs the command.
pub(crate) async fn run(context: &mut Context) -> Result<(), Failure> {
    let models = context.client.models().await?;
    if context.json {
        let all = ListModelsResponse { models, next_page_token: String::new() };
        return Ok(context.out.line(&json::encode("tollgate.v1.ListModelsResponse", &all)?)?);
    }
    if models.is_empty() {
        return Ok(context.out.note("the key may use no model")?);
    }
    for line in table(&models).lines() {
        context.out.line(&line)?;
    }
    Ok(())
}

fn table(models: &[Model]) -> Table {
    let mut table = Table::new([
        Column::left("name"),
        Column::left("operations"),
        Column::right("context"),
        Column::right("input $/M"),
        Column::right("output $/M"),
    ]);
    for model in models {
        let context = (model.context_tokens > 0).then_some(model.context_tokens);
        table.row([
            model.name.clone(),
            model.operations.join(","),
            amount::known(context),
            price(model, "input_tokens"),
            price(model, "output_tokens"),
        ]);
    }
    table
}

/// Returns the price of a million units; nothing if it is not known.
fn price(model: &Model, unit: &str) -> String {
    let price = model.prices.iter().find(|price| price.unit == unit);
    price.map(|price| amount::usd(price.nanos_per_million)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tollgate_client::api::v1::Price;

    use super::*;

    #[test]
    fn unknown_prices_and_sizes_are_not_zero() {
        let price =
            Price { unit: "input_tokens".into(), nanos_per_million: 150_000_000, ..Default::default() };
        let known = Model {
            name: "a".into(),
            operations: vec!["chat".into()],
            context_tokens: 128_000,
            prices: vec![price],
            ..Default::default()
        };
        let unknown = Model { name: "b".into(), ..Default::default() };
        assert_eq!(
            table(&[known, unknown]).lines(),
            [
                "NAME  OPERATIONS  CONTEXT  INPUT $/M  OUTPUT $/M",
                "a     chat        128,000      $0.15           -",
                "b     -                 -          -           -",
            ]
        );
    }
}
