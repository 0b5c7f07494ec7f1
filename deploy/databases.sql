-- Three databases of one server: what Dagster did, what MLflow keeps, what the monitors found. Run once, on an empty server.
CREATE DATABASE dagster;
CREATE DATABASE mlflow;
CREATE DATABASE monitoring ENCODING 'UTF8' TEMPLATE template0;
