"""AWS IoT SQL: a statement or a template is compiled once and evaluated for each message. No I/O."""

from cpsim_kit.local.iot_sql.iot_sql import NO_MATCH, SqlError, Statement, Template, compile_sql, compile_template

__all__ = ["NO_MATCH", "SqlError", "Statement", "Template", "compile_sql", "compile_template"]
