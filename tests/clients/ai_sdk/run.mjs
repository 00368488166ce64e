// One case of the Vercel AI SDK against a server: node run.mjs CASE '{"url": ..., "model": ...}'. Prints what it got as JSON.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  generateObject, generateText, isStepCount, NoObjectGeneratedError, Output, streamObject, streamText, tool,
} from "ai";
import { z } from "zod";

const [name, given] = process.argv.slice(2);
const { url, model } = JSON.parse(given);
const cupola = createOpenAICompatible({
  name: "cupola",
  baseURL: `${url}/v1`,
  apiKey: "none",
  includeUsage: true,
  supportsStructuredOutputs: true,
});

const prompt = "What is the capital of France?";
const story = "Tell me a story about a lighthouse.";
const common = { model: cupola(model), temperature: 0, maxOutputTokens: 24, maxRetries: 0 };
const book = z.object({
  title: z.string().min(1).max(24),
  year: z.number().int().min(1500).max(2100),
  kind: z.enum(["novel", "essay"]),
});
const asking = { ...common, maxOutputTokens: 64, prompt: "Name a book." };
const weather = tool({
  description: "The weather of a city",
  inputSchema: z.object({ city: z.string().min(1).max(20), days: z.union([z.literal(1), z.literal(3)]) }),
  execute: async ({ city, days }) => ({ city, days, sky: "sunny" }),
});
const forecast = { ...common, maxOutputTokens: 48, tools: { get_weather: weather }, prompt: "Weather in Rome tomorrow?" };
// The first step must call; the second answers with the result before it.
const twoSteps = {
  ...forecast,
  stopWhen: isStepCount(2),
  prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber ? "none" : "required" }),
};

async function all(stream) {
  const found = [];
  for await (const part of stream) found.push(part);
  return found;
}

function steps(taken) {
  return taken.map((step) => ({
    text: step.text,
    finish: step.finishReason,
    calls: step.toolCalls.map(({ toolName, input, invalid }) => ({ toolName, input, invalid: invalid ?? false })),
    results: step.toolResults.map(({ output }) => output),
    usage: step.usage,
  }));
}

const cases = {
  async chat() {
    const { text, finishReason, usage, response } = await generateText({ ...common, prompt });
    return { text, finishReason, usage, model: response.modelId };
  },
  async stream() {
    const plain = await generateText({ ...common, prompt: story });
    const streamed = streamText({ ...common, prompt: story });
    const pieces = await all(streamed.textStream);
    return { plain: plain.text, pieces, finishReason: await streamed.finishReason, usage: await streamed.usage };
  },
  async conversation() {
    const messages = [
      { role: "user", content: [{ type: "text", text: prompt }] },
      { role: "assistant", content: [{ type: "text", text: "Paris." }] },
      { role: "user", content: "And what is the capital of Italy?" },
    ];
    const { text } = await generateText({ ...common, instructions: "Answer briefly.", messages });
    return { text };
  },
  async named() {
    const toolChoice = { type: "tool", toolName: "get_weather" };
    return steps((await generateText({ ...forecast, toolChoice })).steps);
  },
  async round() {
    return steps((await generateText(twoSteps)).steps);
  },
  async streamedRound() {
    const streamed = streamText(twoSteps);
    const types = (await all(streamed.stream)).map((part) => part.type);
    return { types, steps: steps(await streamed.steps) };
  },
  async auto() {
    return steps((await generateText({ ...forecast, toolChoice: "auto" })).steps);
  },
  async output() {
    const { output, usage } = await generateText({ ...asking, output: Output.object({ schema: book }) });
    return { output: book.parse(output), usage };
  },
  async streamedOutput() {
    const streamed = streamText({ ...asking, output: Output.object({ schema: book }) });
    const partial = await all(streamed.partialOutputStream);
    return { partial, output: book.parse(await streamed.output) };
  },
  async choice() {
    return (await generateText({ ...asking, output: Output.choice({ options: ["sunny", "rainy"] }) })).output;
  },
  async array() {
    const element = z.object({ city: z.string().min(1).max(12) });
    const output = Output.array({ element });
    const { output: found } = await generateText({ ...asking, maxOutputTokens: 200, output, prompt: "Two cities." });
    return found.map((one) => element.parse(one));
  },
  async object() {
    return book.parse((await generateObject({ ...asking, schema: book })).object);
  },
  async streamedObject() {
    const streamed = streamObject({ ...asking, schema: book });
    const partial = await all(streamed.partialObjectStream);
    return { partial, object: book.parse(await streamed.object), usage: await streamed.usage };
  },
  async cut() {
    const asked = generateObject({ ...asking, maxOutputTokens: 3, schema: book });
    return asked.then(() => ({}), (error) => ({
      typed: NoObjectGeneratedError.isInstance(error), finish: error.finishReason,
    }));
  },
  async error() {
    const asked = generateText({ ...common, prompt, model: cupola("gpt-9") });
    return asked.then(() => ({}), ({ name, message, statusCode, isRetryable, data }) => ({
      name, message, statusCode, isRetryable, data,
    }));
  },
};

process.stdout.write(JSON.stringify(await cases[name]()));
