//! Functions: versions, aliases, concurrency, invocations.

use serde_json::{Value, json};

use super::{call, pass, refused, stack};
use crate::{Aws, Service, Stack};

fn lambda(aws: &mut Aws, stack: &Stack, action: &str, mut input: Value) -> crate::Answer {
    input["FunctionName"] = json!(stack.function);
    call(aws, Service::Lambda, action, input)
}

fn ship(aws: &mut Aws, stack: &Stack, zip: &str) -> String {
    lambda(aws, stack, "UpdateFunctionCode", json!({ "ZipFile": zip })).unwrap();
    pass(aws, 2);
    let made = lambda(aws, stack, "PublishVersion", json!({})).unwrap();
    made["Version"].as_str().unwrap().to_owned()
}

#[test]
fn a_version_is_published_once() {
    let (mut aws, stack) = stack();
    assert_eq!(ship(&mut aws, &stack, "AAAA"), "2");
    let again = lambda(&mut aws, &stack, "PublishVersion", json!({})).unwrap();
    assert_eq!(again["Version"], "2", "nothing has changed since");
    let wrong = lambda(&mut aws, &stack, "PublishVersion", json!({ "CodeSha256": "other" }));
    assert_eq!(wrong.unwrap_err().code, "InvalidParameterValueException");
    let all = lambda(&mut aws, &stack, "ListVersionsByFunction", json!({})).unwrap();
    assert_eq!(all["Versions"].as_array().unwrap().len(), 3, "with $LATEST");
}

#[test]
fn an_update_in_progress_refuses_another() {
    let (mut aws, stack) = stack();
    let update = json!({ "ZipFile": "AAAA" });
    let made = lambda(&mut aws, &stack, "UpdateFunctionCode", update.clone()).unwrap();
    assert_eq!(made["LastUpdateStatus"], "InProgress");
    let busy = lambda(&mut aws, &stack, "UpdateFunctionCode", update.clone()).unwrap_err();
    assert_eq!((busy.status, busy.code.as_str()), (409, "ResourceConflictException"));
    pass(&mut aws, 2);
    lambda(&mut aws, &stack, "UpdateFunctionCode", update).unwrap();
}

#[test]
fn an_alias_knows_its_revision_and_checks_its_weights() {
    let (mut aws, stack) = stack();
    ship(&mut aws, &stack, "AAAA");
    ship(&mut aws, &stack, "BBBB");
    let alias = lambda(&mut aws, &stack, "GetAlias", json!({ "Name": "live" })).unwrap();
    let route = |revision: &Value, weights: Value| {
        json!({
            "Name": "live", "RevisionId": revision,
            "RoutingConfig": { "AdditionalVersionWeights": weights },
        })
    };
    let first = alias["RevisionId"].clone();
    let moved =
        lambda(&mut aws, &stack, "UpdateAlias", route(&first, json!({ "2": 0.1 }))).unwrap();
    assert_ne!(moved["RevisionId"], first);
    assert_eq!(moved["RoutingConfig"]["AdditionalVersionWeights"]["2"], 0.1);
    let stale = lambda(&mut aws, &stack, "UpdateAlias", route(&first, json!({ "2": 0.5 })));
    let stale = stale.unwrap_err();
    assert_eq!((stale.status, stale.code.as_str()), (412, "PreconditionFailedException"));
    let now = moved["RevisionId"].clone();
    for (weights, code) in [
        (json!({ "2": 1.1 }), "InvalidParameterValueException"),
        (json!({ "1": 0.1 }), "InvalidParameterValueException"),
        (json!({ "2": 0.1, "3": 0.1 }), "InvalidParameterValueException"),
        (json!({ "9": 0.1 }), "ResourceNotFoundException"),
    ] {
        let wrong = lambda(&mut aws, &stack, "UpdateAlias", route(&now, weights)).unwrap_err();
        assert_eq!(wrong.code, code);
    }
    let used = lambda(&mut aws, &stack, "DeleteFunction", json!({ "Qualifier": "2" }));
    assert_eq!(used.unwrap_err().code, "ResourceConflictException");
}

#[test]
fn an_alias_sends_its_share_to_the_other_version() {
    let (mut aws, stack) = stack();
    ship(&mut aws, &stack, "AAAA");
    let routing =
        json!({ "Name": "live", "RoutingConfig": { "AdditionalVersionWeights": { "2": 0.25 } } });
    lambda(&mut aws, &stack, "UpdateAlias", routing).unwrap();
    let mut other = 0;
    for _ in 0..1_000 {
        let invocation = aws.invoke(&stack.function, Some("live"), Vec::new()).unwrap();
        other += u32::from(invocation.version == "2");
        aws.invoked(&invocation, false);
    }
    assert!((200..300).contains(&other), "{other} of 1,000");
}

fn provision(aws: &mut Aws, stack: &Stack, wanted: u32) -> crate::Answer {
    let input = json!({ "Qualifier": "live", "ProvisionedConcurrentExecutions": wanted });
    lambda(aws, stack, "PutProvisionedConcurrencyConfig", input)
}

fn provisioned(aws: &mut Aws, stack: &Stack) -> (String, u64) {
    let input = json!({ "Qualifier": "live" });
    let held = lambda(aws, stack, "GetProvisionedConcurrencyConfig", input).unwrap();
    let there = held["AvailableProvisionedConcurrentExecutions"].as_u64().unwrap();
    (held["Status"].as_str().unwrap().to_owned(), there)
}

#[test]
fn provisioned_concurrency_is_all_or_nothing() {
    let (mut aws, stack) = stack();
    let none =
        lambda(&mut aws, &stack, "GetProvisionedConcurrencyConfig", json!({ "Qualifier": "live" }));
    assert_eq!(none.unwrap_err().code, "ProvisionedConcurrencyConfigNotFoundException");
    assert_eq!(
        provision(&mut aws, &stack, 901).unwrap_err().code,
        "InvalidParameterValueException",
        "a hundred must be left to others"
    );
    provision(&mut aws, &stack, 50).unwrap();
    pass(&mut aws, 60);
    assert_eq!(provisioned(&mut aws, &stack), ("IN_PROGRESS".to_owned(), 0));
    // The same again changes nothing and does not begin anew.
    provision(&mut aws, &stack, 50).unwrap();
    pass(&mut aws, 31);
    assert_eq!(provisioned(&mut aws, &stack), ("READY".to_owned(), 50));
    ship(&mut aws, &stack, "AAAA");
    let moved = json!({ "Name": "live", "FunctionVersion": "2" });
    lambda(&mut aws, &stack, "UpdateAlias", moved).unwrap();
    assert_eq!(provisioned(&mut aws, &stack), ("IN_PROGRESS".to_owned(), 0));
    // Until the new ones are there Lambda leaves all requests to the old version.
    let weights = |aws: &mut Aws| {
        let alias = lambda(aws, &stack, "GetAlias", json!({ "Name": "live" })).unwrap();
        alias["RoutingConfig"]["AdditionalVersionWeights"].clone()
    };
    assert_eq!(weights(&mut aws), json!({ "1": 1.0 }));
    assert!(provision(&mut aws, &stack, 60).unwrap_err().message.contains("Alias with weights"));
    pass(&mut aws, 91);
    assert_eq!(weights(&mut aws), Value::Null);
    assert_eq!(provisioned(&mut aws, &stack), ("READY".to_owned(), 50));
    lambda(
        &mut aws,
        &stack,
        "PutFunctionConcurrency",
        json!({ "ReservedConcurrentExecutions": 60 }),
    )
    .unwrap();
    assert!(provision(&mut aws, &stack, 61).unwrap_err().message.contains("reserved"));
    lambda(&mut aws, &stack, "DeleteProvisionedConcurrencyConfig", json!({ "Qualifier": "live" }))
        .unwrap();
    lambda(&mut aws, &stack, "DeleteFunctionConcurrency", json!({})).unwrap();
    let account = call(&mut aws, Service::Lambda, "GetAccountSettings", json!({})).unwrap();
    assert_eq!(account["AccountLimit"]["UnreservedConcurrentExecutions"], 1_000);
}

#[test]
fn an_alias_has_weights_or_provisioned_concurrency() {
    let (mut aws, stack) = stack();
    ship(&mut aws, &stack, "AAAA");
    let weigh = |weights: Value| json!({ "Name": "live", "RoutingConfig": { "AdditionalVersionWeights": weights } });
    lambda(&mut aws, &stack, "UpdateAlias", weigh(json!({ "2": 0.1 }))).unwrap();
    let refused = provision(&mut aws, &stack, 5).unwrap_err();
    assert!(refused.message.contains("Alias with weights"), "{refused}");
    lambda(&mut aws, &stack, "UpdateAlias", weigh(json!({}))).unwrap();
    provision(&mut aws, &stack, 5).unwrap();
    let refused = lambda(&mut aws, &stack, "UpdateAlias", weigh(json!({ "2": 0.1 }))).unwrap_err();
    assert!(refused.message.contains("for Provisioned Concurrency"), "{refused}");
    lambda(&mut aws, &stack, "UpdateAlias", json!({ "Name": "live", "FunctionVersion": "2" }))
        .unwrap();
}

#[test]
fn code_that_is_only_tried_is_not_taken() {
    let (mut aws, stack) = stack();
    let before = lambda(&mut aws, &stack, "GetFunctionConfiguration", json!({})).unwrap();
    let update = json!({ "ZipFile": "AAAA", "DryRun": true });
    let tried = lambda(&mut aws, &stack, "UpdateFunctionCode", update).unwrap();
    assert_ne!(tried["CodeSha256"], before["CodeSha256"]);
    assert_eq!(lambda(&mut aws, &stack, "GetFunctionConfiguration", json!({})).unwrap(), before);
    let large = "AAAA".repeat(50 * 1024 * 1024 / 3 + 1);
    let large = lambda(&mut aws, &stack, "UpdateFunctionCode", json!({ "ZipFile": large }));
    assert_eq!(large.unwrap_err().status, 413);
}

#[test]
fn a_reservation_throttles() {
    let (mut aws, stack) = stack();
    lambda(
        &mut aws,
        &stack,
        "PutFunctionConcurrency",
        json!({ "ReservedConcurrentExecutions": 1 }),
    )
    .unwrap();
    let first = aws.invoke(&stack.function, Some("live"), Vec::new()).unwrap();
    let second = aws.invoke(&stack.function, Some("live"), Vec::new()).unwrap_err();
    assert_eq!((second.status, second.code.as_str()), (429, "TooManyRequestsException"));
    aws.invoked(&first, false);
    aws.invoke(&stack.function, Some("live"), Vec::new()).unwrap();
}

#[test]
fn replicas_take_minutes() {
    let (mut aws, stack) = stack();
    let resize = |n: u32| json!({ "ReplicationGroupId": stack.cache, "NewReplicaCount": n });
    call(&mut aws, Service::ElastiCache, "IncreaseReplicaCount", resize(3)).unwrap();
    let code = refused(&mut aws, Service::ElastiCache, "IncreaseReplicaCount", resize(4));
    assert_eq!(code, "InvalidReplicationGroupState");
    let reader = json!({
        "DBInstanceIdentifier": "east-replica-1", "DBClusterIdentifier": stack.database,
        "Tags": { "Tag": [{ "Key": "spillway:agent", "Value": "true" }] },
    });
    call(&mut aws, Service::Rds, "CreateDBInstance", reader).unwrap();
    let status = |aws: &mut Aws| {
        let input = json!({ "DBInstanceIdentifier": "east-replica-1" });
        let path = "/DBInstances/$list/1/0/DBInstanceStatus";
        aws.ask(Service::Rds, "DescribeDBInstances", input, path)
    };
    assert_eq!(status(&mut aws).unwrap().as_deref(), Some("creating"));
    pass(&mut aws, 121);
    assert_eq!(status(&mut aws).unwrap().as_deref(), Some("available"));
    let delete = json!({ "DBInstanceIdentifier": "east-replica-1", "SkipFinalSnapshot": true });
    call(&mut aws, Service::Rds, "DeleteDBInstance", delete).unwrap();
    pass(&mut aws, 121);
    assert_eq!(status(&mut aws).unwrap_err().code, "DBInstanceNotFound");
}
