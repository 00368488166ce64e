// Foundry Local's SDK for JavaScript, from the service to an unloaded model. Prints what it got as JSON.
import { FoundryLocalManager } from "foundry-local-sdk";

const { alias, other } = JSON.parse(process.argv[3]);
const ids = (models) => models.map((model) => model.id);
const refused = (promise) => promise.then(() => "", (error) => error.message);

const manager = new FoundryLocalManager();
await manager.startService();
const percents = [];
const said = {
  running: await manager.isServiceRunning(),
  endpoint: manager.endpoint,
  key: manager.apiKey,
  cache: await manager.getCacheLocation(),
  found: (await manager.getModelInfo(alias)).id,
  early: await refused(manager.loadModel(alias)),
  downloaded: (await manager.downloadModel(alias, undefined, undefined, false, (percent) => percents.push(percent))).id,
  percents,
  again: (await manager.downloadModel(alias, undefined, undefined, true)).id,
  lost: await refused(manager.downloadModel(other)),
  cached: ids(await manager.listCachedModels()),
  loaded: (await manager.loadModel(alias)).id,
};
said.running_models = ids(await manager.listLoadedModels());
await manager.unloadModel(alias);
said.after = ids(await manager.listLoadedModels());
process.stdout.write(JSON.stringify(said));
