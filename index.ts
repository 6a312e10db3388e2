// memtape as a library: record, read, replay and judge. The command line is made from the same parts.

export { record, type RecordInput } from './library/record.ts';
export { openTrace, Tape } from './library/tape.ts';
export type { Exchange, ExchangeAnswer } from './library/exchange.ts';
export { modelTrace, synth, synthesize, type Synthesized, type SynthOptions } from './library/synth.ts';
export { auditTrace, type AuditTraceOptions } from './library/audit.ts';
export { judge, verify, type JudgeOptions } from './library/judge.ts';
export { LibraryError, type LibraryErrorCode } from './library/error.ts';
export { parseModel, type Model, type ModelInput } from './synth/model/model.ts';
export { ConfigError } from './config/error.ts';
export { mergeTraces, type Merged, type MergeOptions } from './convert/merge.ts';
export type { Filter } from './convert/filter.ts';
export { ConvertError, type ConvertErrorCode } from './convert/error.ts';

export {
  replay,
  type Replayed,
  type ReplayObserver,
  type ReplayOptions,
  type ReplayProgress,
} from './replayer/replay.ts';
export { ReplayError, type ReplayErrorCode } from './replayer/error.ts';
export { recordCapture, type CaptureRecorded, type RecordOptions } from './recorder/record.ts';
export { startProxy, type ProxyOptions, type RecordingProxy } from './recorder/proxy.ts';
export { RecorderError, type RecorderErrorCode } from './recorder/error.ts';
export { diff, type Diff, type DiffOptions } from './diff/diff.ts';
export type { Example, Finding } from './diff/verdict.ts';
export { exitCodes, makeReport, type ReportInput } from './report/report.ts';
export type { NamedReport, Report, ReportVerdict } from './report/shape.ts';
export { renderText } from './report/text.ts';
export { renderHtml } from './report/html.ts';
export { renderJunit } from './report/junit.ts';
export { renderMarkdown } from './report/markdown.ts';
export { reportJsonSchema, reportSchema } from './report/schema.ts';
export { gateReportJsonSchema, gateReportSchema, type GateReport } from './report/gate.ts';
export { parseThreshold, ThresholdError, type Threshold } from './report/threshold.ts';
export { ResultsReader, ResultsWriter, TraceReader, TraceWriter } from './trace/file.ts';
export { Batch, ConnectionEnd, NEVER, Outcome, RowFlag, type Connection } from './trace/batch.ts';
export { Result, ResultBatch, SkipReason } from './trace/results.ts';
export type { TraceMeta } from './trace/meta.ts';
export { summarise, type Summary } from './trace/summary.ts';
export { TraceError, type TraceErrorCode } from './trace/error.ts';
export { Opcode, opcodeName, opcodeNamed } from './protocol/opcode.ts';
export { Status, statusLabel } from './protocol/status.ts';
export { startCluster, type Cluster, type ClusterOptions } from './embedded/cluster.ts';
