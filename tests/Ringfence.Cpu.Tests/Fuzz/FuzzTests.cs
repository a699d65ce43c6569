using System.Globalization;
using System.IO.MemoryMappedFiles;
using System.Text;
using Ringfence.Cpu.Models;
using Ringfence.Tests;

namespace Ringfence.Cpu.Tests.Fuzz;

/// <summary>
/// Random bytes as code, with random registers, in every mode: a guest can do what it likes to itself, and nothing to the host.
/// RINGFENCE_FUZZ_RUNS says how many strings in all, RINGFENCE_SEED which. A failure names the batch, as MODE:MODEL:BATCH; RINGFENCE_FUZZ_AT set
/// to that runs it alone and prints each string first. Should the process itself die, the file
/// ringfence-fuzz-PID in the folder for temporary files holds the batch.
/// </summary>
public sealed class FuzzTests
{
    private const long Runs = 100_000;
    private static readonly FuzzProgress s_progress = new("strings");

    private readonly string[]? _only = Environment.GetEnvironmentVariable("RINGFENCE_FUZZ_AT")?.Split(':');
    private string _where = "";
    private int _string;

    public static TheoryData<FuzzMode> Modes => [.. Enum.GetValues<FuzzMode>()];

    [Theory]
    [MemberData(nameof(Modes))]
    public void RandomCodeEndsSomehow(FuzzMode mode)
    {
        if (_only is not null && _only[0] != mode.ToString())
        {
            return;
        }
        long runs = FuzzOptions.Count(FuzzOptions.Runs, Runs) / Enum.GetValues<FuzzMode>().Length;
        IReadOnlyList<CpuModel> models = FuzzModes.Models(mode);
        using MemoryMappedFile? file = Environment.GetEnvironmentVariable(FuzzOptions.Runs) is null ? null : Notes();
        using MemoryMappedViewAccessor? notes = file?.CreateViewAccessor();
        for (int i = 0; i < models.Count; i++)
        {
            if (_only is null || _only[1] == models[i].Name)
            {
                RunModel(mode, models[i], i, (runs / models.Count / FuzzGuest.Strings) + 1, notes);
            }
        }
        if (file is not null)
        {
            File.Delete(NotesPath);
        }
    }

    private void RunModel(FuzzMode mode, CpuModel model, int number, long batches, MemoryMappedViewAccessor? notes)
    {
        using var guest = new FuzzGuest(mode, model);
        using var watchdog = new FuzzWatchdog(guest.Processor, () => $"{_where}, string {_string}: {Convert.ToHexString(guest.Code(_string))}");
        long first = _only is null ? 0 : long.Parse(_only[2], CultureInfo.InvariantCulture);
        long end = _only is null ? batches : first + 1;
        for (long batch = first; batch < end; batch++)
        {
            _where = $"{mode}:{model.Name}:{batch}";
            if (notes is not null)
            {
                byte[] text = Encoding.ASCII.GetBytes(_where.PadRight(79) + "\n");
                notes.WriteArray(0, text, 0, text.Length);
            }
            guest.Prepare((FuzzOptions.Seed << 48) ^ ((ulong)mode << 40) ^ ((ulong)number << 36) ^ (ulong)batch);
            for (_string = 0; _string < FuzzGuest.Strings; _string++)
            {
                if (_only is not null)
                {
                    Console.WriteLine($"{_where}, string {_string}: {Convert.ToHexString(guest.Code(_string))}");
                }
                RunString(guest, watchdog);
            }
            Expect(guest, guest.CheckMemory());
            s_progress.Done(FuzzGuest.Strings, _where);
        }
        // A guest that is set up wrongly would fault at its first instruction, and prove nothing.
        long strings = (end - first) * FuzzGuest.Strings;
        Assert.True(guest.Retired > strings && guest.Shutdowns < strings / 2,
            $"{mode}:{model.Name}: {guest.Retired} instructions and {guest.Shutdowns} shutdowns in {strings} strings");
    }

    private void RunString(FuzzGuest guest, FuzzWatchdog watchdog)
    {
        try
        {
            guest.Run(_string, watchdog.End);
        }
        catch (Exception e)
        {
            Expect(guest, e.ToString());
        }
        watchdog.Rest();
        Expect(guest, guest.Check());
    }

    private void Expect(FuzzGuest guest, string? problem)
    {
        if (problem is not null)
        {
            Assert.Fail($"seed {FuzzOptions.Seed}, {_where}, string {_string} of it, {Convert.ToHexString(guest.Code(Math.Min(_string, FuzzGuest.Strings - 1)))}: {problem}");
        }
    }

    private static string NotesPath => Path.Combine(Path.GetTempPath(), $"ringfence-fuzz-{Environment.ProcessId}");

    private static MemoryMappedFile Notes()
    {
        return MemoryMappedFile.CreateFromFile(NotesPath, FileMode.Create, null, 4096);
    }
}
