#include <libpq-fe.h>
#include <sys/eventfd.h>

/* The fields of an error, one reader each: libpq names them by character constants, which Swift does not import. */
static inline const char *gatehouse_result_severity(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
}
static inline const char *gatehouse_result_sqlstate(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_SQLSTATE);
}
static inline const char *gatehouse_result_constraint(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
}
static inline const char *gatehouse_result_table(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_TABLE_NAME);
}
static inline const char *gatehouse_result_column(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_COLUMN_NAME);
}
static inline const char *gatehouse_result_function(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);
}
static inline const char *gatehouse_result_message(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
}

/* libpq prints notices to stderr unless told otherwise. */
static inline void gatehouse_ignore_notice(void *context, const char *message) {
    (void)context;
    (void)message;
}
static inline void gatehouse_ignore_notices(PGconn *connection) {
    PQsetNoticeProcessor(connection, gatehouse_ignore_notice, 0);
}
