using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;
using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.Translator;

/// <summary>
/// Runs each translated block on the interpreter too and compares. Blocks are translated alone, and all their ends lead out, so that one entry
/// runs one block or its beginning. What it stored is logged and undone; then the interpreter runs as many instructions from the same start, one
/// by one, decoded apart. The guest goes on from what the interpreter made.
/// </summary>
internal sealed unsafe class Verifier : IDisposable
{
    private readonly Processor _processor;
    private readonly CpuState* _s;
    private readonly StoreLog _log;
    /// <summary>By the op that is the way in.</summary>
    private readonly Dictionary<nint, CheckedCode> _code = [];
    private RegisterImage _start;
    private RegisterImage _translated;
    private RegisterImage _interpreted;

    public Verifier(Processor processor, StoreLog log)
    {
        _processor = processor;
        _s = processor.State;
        _log = log;
    }

    private bool _outdated;

    /// <summary>Instructions compared.</summary>
    public long Instructions { get; private set; }

    /// <summary>Takes the place of <see cref="NativeEntry.Enter"/>.</summary>
    public static Op* Enter(CpuState* s, Op* o) => ((BlockTranslator)Processor.Of(s).Translator!).Verifier!.Run(o);

    /// <summary>Some code has changed, and ops of new code may lie where those of the old lay. What is being checked now is still needed.</summary>
    public void Outdate() => _outdated = true;

    /// <summary>All ways in are gone.</summary>
    public void Forget()
    {
        foreach (CheckedCode code in _code.Values)
        {
            code.Dispose();
        }
        _code.Clear();
    }

    public void Dispose()
    {
        Forget();
        _log.Dispose();
    }

    private Op* Run(Op* o)
    {
        if (_outdated)
        {
            _outdated = false;
            Forget();
        }
        _start.Take(_s);
        CheckedCode code = CodeAt(o);
        _log.Clear();
        Op* next = NativeEntry.Enter(_s, o);
        _translated.Take(_s);
        _log.Undo();
        // An op in the middle of a block knows how far it is from the start, which is where RIP and the count still are.
        ulong rip = _translated.Rip + (next == null ? 0UL : next->IpOffset);
        long retired = _translated.Retired + (next == null ? 0 : next->Ordinal);
        long count = retired - _start.Retired - o->Ordinal;
        GoToWayIn(o);
        if (count < 0 || count > code.Steps.Count)
        {
            Fail(o, code, 0, $"{count} instructions are said to have run");
        }
        RflagsBits undefined = RflagsBits.None;
        bool undefinedC1 = false;
        int stores = 0;
        for (int i = 0; i < count; i++)
        {
            CheckedCode.Step step = code.Steps[i];
            if ((step.Reads & undefined) != 0 || (undefinedC1 && FlagScan.ReadsC1(step.Instruction)))
            {
                // What comes of it depends on a flag that is undefined: each may be right. Memory is as it was up to here on both.
                _log.Redo();
                _translated.Put(_s);
                return next;
            }
            undefined = (undefined & ~step.Kills) | step.Undefined;
            undefinedC1 |= FlagScan.SpoilsC1(step.Instruction);
            stores += step.Stores ? 1 : 0;
            Interpret(o, code, i);
        }
        _interpreted.Take(_s);
        RflagsBits compared = ~undefined & Region.AllFlags;
        if (next != null && next != _s->Translated.Missed && (int)count < code.Steps.Count)
        {
            compared &= code.LiveAt((int)count);
        }
        ushort counted = undefinedC1 ? unchecked((ushort)~X87Status.C1) : ushort.MaxValue;
        if ((StateComparison.Find(in _translated, in _interpreted, rip, retired, compared, counted) ?? CompareMemory(stores)) is { } difference)
        {
            Fail(o, code, (int)count, difference);
        }
        Instructions += count;
        _s->Rip = _translated.Rip;
        _s->Retired = _translated.Retired;
        return next;
    }

    private CheckedCode CodeAt(Op* o)
    {
        if (!_code.TryGetValue((nint)o, out CheckedCode? code))
        {
            GoToWayIn(o);
            _code.Add((nint)o, code = new CheckedCode(_processor));
            _start.Put(_s);
        }
        return code;
    }

    /// <summary>The start, with RIP and the count at the instruction itself.</summary>
    private void GoToWayIn(Op* o)
    {
        _start.Put(_s);
        _s->Rip += o->IpOffset;
        _s->Retired += o->Ordinal;
    }

    private void Interpret(Op* o, CheckedCode code, int index)
    {
        long before = _s->Retired;
        Op* op = (Op*)code.Steps[index].Ops;
        // What it returns would be the next block.
        op->Handler(_s, op);
        _s->LinkSlot = null;
        if (_s->Event != ExitEvent.None || _s->Retired != before + 1)
        {
            Fail(o, code, index + 1, _s->Event == ExitEvent.Fault
                ? $"the interpreter raised exception {_s->FaultVector}, error code {_s->FaultError:x}" : $"the interpreter stopped: {_s->Event}");
        }
    }

    private string? CompareMemory(int stores)
    {
        if (stores != _log.Count)
        {
            return $"{_log.Count} stores, not {stores}";
        }
        for (int i = 0; i < stores; i++)
        {
            if (!_log.Holds(i))
            {
                return $"memory, {_log[i].Bytes} bytes of store {i + 1}";
            }
        }
        return null;
    }

    private void Fail(Op* o, CheckedCode code, int count, string difference)
    {
        _interpreted.Take(_s);
        throw new TranslationDifferenceException(new DifferenceReport(_processor, _log)
            .Write(difference, code, count, _start.Rip + o->IpOffset, in _start, in _translated, in _interpreted));
    }
}
