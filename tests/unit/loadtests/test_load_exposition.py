from loadtests.observe.exposition import total

TEXTS = (
    """# TYPE requests_total counter
requests_total{client_version="ios/3.2",status="422"} 3.0
requests_total{client_version="ios/3.2",status="200"} 40.0
requests_total{client_version="ios/3.21",status="422"} 500.0
# TYPE resident_bytes gauge
resident_bytes 1.5e+08
""",
    """# TYPE requests_total counter
requests_total{client_version="ios/3.2",status="422"} 4.0
""",
)


def test_a_total_is_that_of_all_replicas_and_of_these_labels_only() -> None:
    assert total(TEXTS, "requests_total", client_version="ios/3.2", status="422") == 7
    assert total(TEXTS, "requests_total", client_version="ios/3.2") == 47
    assert total(TEXTS, "resident_bytes") == 1.5e8
    assert total(TEXTS, "requests") == 0
