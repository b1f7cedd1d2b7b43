"Transfer learning for text with ULMFiT: names load their modules when first used, so importing the package costs little."
__version__ = "0.1.0"

_homes = dict(
    corpus='Corpus InputError read_rows read_texts read_labelled docs_corpus get_data list_data',
    tokenization='Tokenizer',
    awd_lstm='AWDLSTM LanguageModel Dropouts Size',
    schedules='stlr clr sgdr one_cycle',
    training='TrainConfig Trainer',
    language_model='pretrain generate perplexity',
    fine_tuning='finetune_lm',
    classifier='TextClassifier finetune_classifier',
    ulmfit='ULMFiT')
_home = {name: module for module, names in _homes.items() for name in names.split()}

def __getattr__(name):
    "Load the module that holds `name` at its first use."
    from importlib import import_module
    if name in _home: return getattr(import_module(f'.{_home[name]}', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

def __dir__(): return sorted([*globals(), *_home])
