// What the type check of the page knows beside its modules: shapes that several of them share, the elements of
// index.html, and what browsers have that TypeScript 4.8 knows nothing of.

/** A channel's messages from the server: each number's name, and what reads its fields. */
type Messages<N extends string = string> = Record<number, [N, (r: import("../wire.js").Reader) => object]>;
type Decoded<M extends Messages> = {
  [K in keyof M & number]: { name: M[K][0] } & ReturnType<M[K][1]>
}[keyof M & number];
type ReaderOf = <N extends string, M extends Messages<N>>(channel: string, messages: M) =>
  (id: number, body: Uint8Array) => Decoded<M>;
type Channels = typeof import("../messages.js").channels;
/** A message from the server on a channel of this kind. */
type From<K extends keyof Channels> = ReturnType<Channels[K]["decode"]>;

type Rect = { x: number; y: number; width: number; height: number };
/** A shape of the pointer; its pixels are B, G, R, A. */
type Shape = { width: number; height: number; hotX: number; hotY: number; pixels: Uint8Array };

/** The elements of the page that have names. */
type Parts = Record<"again" | "about" | "full" | "leave" | "microphone", HTMLButtonElement>
  & Record<"paste" | "send" | "sound" | "type", HTMLButtonElement>
  & Record<"console" | "keys" | "size", HTMLSelectElement>
  & Record<"chosen" | "password", HTMLInputElement>
  & Record<"consoles" | "files" | "name" | "news" | "notice" | "panel" | "screen" | "status" | "wrong", HTMLElement>
  & { login: HTMLFormElement; text: HTMLTextAreaElement };

/** A button of the pointer: its number, and its bit. */
type Button = [number, number];

interface Navigator {
  /** Keyboard Lock, where the browser has it. */
  keyboard?: { lock(codes?: string[]): Promise<void> };
}

// WebCodecs.

type CodecState = "unconfigured" | "configured" | "closed";
declare class Codec<Config, Input> {
  static isConfigSupported(config: object): Promise<{ supported?: boolean }>;
  readonly state: CodecState;
  configure(config: Config): void;
  close(): void;
}
interface Callbacks<Output> {
  output: (output: Output) => void;
  error: (error: Error) => void;
}
interface Chunk {
  type: "key" | "delta";
  timestamp: number;
  data: Uint8Array;
}
declare class EncodedVideoChunk { constructor(chunk: Chunk); }
declare class EncodedAudioChunk {
  constructor(chunk: Chunk);
  readonly byteLength: number;
  copyTo(bytes: Uint8Array): void;
}
declare class VideoFrame {
  readonly timestamp: number;
  close(): void;
}
interface AudioFormat { sampleRate: number; numberOfChannels: number }
declare class AudioData {
  constructor(data: AudioFormat & { format: string; numberOfFrames: number; timestamp: number; data: Float32Array });
  readonly numberOfFrames: number;
  copyTo(samples: Float32Array, options: { planeIndex: number; format: string }): void;
  close(): void;
}
declare class VideoDecoder extends Codec<{ codec: string; optimizeForLatency: boolean }, EncodedVideoChunk> {
  constructor(callbacks: Callbacks<VideoFrame>);
  decode(chunk: EncodedVideoChunk): void;
}
declare class AudioDecoder extends Codec<AudioFormat & { codec: string }, EncodedAudioChunk> {
  constructor(callbacks: Callbacks<AudioData>);
  decode(chunk: EncodedAudioChunk): void;
}
declare class AudioEncoder extends Codec<AudioFormat & { codec: string }, AudioData> {
  constructor(callbacks: Callbacks<EncodedAudioChunk>);
  encode(data: AudioData): void;
}

// The thread of the sound.

declare class AudioWorkletProcessor { readonly port: MessagePort; }
declare function registerProcessor(name: string, processor: typeof AudioWorkletProcessor): void;
