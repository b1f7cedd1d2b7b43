"Transfer learning for text with ULMFiT: names load their modules when first used, so importing the package costs little."
__version__ = "0.1.0"

_homes = dict(
    corpus='InputError read_rows read_texts read_labelled get_data list_data',
    docs_corpus='docs_task',
    evidence='baseline disagreement standard_error',
    tokenization='Tokenizer',
    ids='Corpus CorpusView',
    awd_lstm='AWDLSTM LanguageModel Dropouts Size',
    schedules='stlr clr sgdr one_cycle',
    optimizers='Phase TrainConfig',
    training='Trainer',
    language_model='LMBatches pretrain perplexity generate',
    storage='save_backbone load_backbone',
    fine_tuning='transfer_vocab finetune_lm',
    bpt3c='TextClassifier',
    classifier='finetune_classifier',
    extensions='AttentionPool Cache cache_probs tune_cache',
    calibration='ULMFiT reliability calibration_error fit_temperature',
    sharing='import_fastai export_fastai fetch_model push_model',
    interpretation='attribute Explorer comprehensiveness',
    errors='confusion worst_losses neighbours',
    scaling='launch profile_steps',
    lab='Lab',
    reproduce='headline lowshot ablation',
    results='record_result read_results')
_home = {name: module for module, names in _homes.items() for name in names.split()}
__all__ = [*_home] # for `from ulmfit_nb import *`
_plugins = ('extensions',) # modules of later chapters that enter something in a registry of an earlier one, such as `bpt3c.POOLS`

def load_plugins():
    "Import those modules: whoever looks a name up in a registry and does not find it asks for this, and looks again."
    from importlib import import_module
    for module in _plugins: import_module(f'.{module}', __name__)

def __getattr__(name):
    "Load the module that holds `name` at its first use."
    from importlib import import_module
    if name in _home: return getattr(import_module(f'.{_home[name]}', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

def __dir__(): return sorted([*globals(), *_home])
