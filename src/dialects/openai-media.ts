import { textIn } from './message-parts.ts'
import { openai } from './openai.ts'
import { readDuration } from './usage.ts'

/** Pictures made, edited and varied. */
export const openaiImages = openai('openai-images', {
  unit: 'perImage',
  countsImages: true,
  answersInText: false,
  endTypes: ['image_generation.completed', 'image_edit.completed'],
})

/** Text that is read aloud. */
export const openaiSpeech = openai('openai-speech', {
  unit: 'perCharacter',
  countsCharacters: true,
  answersInText: false,
  endTypes: ['speech.audio.done'],
})

/** Recordings that are written down, or translated. */
export const openaiTranscription = openai('openai-transcription', {
  unit: 'perSecond',
  countsSeconds: true,
  readUnreported: ({ duration }) => readDuration(duration),
  endTypes: ['transcript.text.done'],
  textOfAnswer: ({ text }) => textIn(text),
})

/** The paid socket: its events are read in `metering/realtime.ts`. */
export const openaiRealtime = openai('openai-realtime', {})
