using System.Globalization;
using System.Text;
using System.Text.Json;
using Ringfence.Engine;

namespace Ringfence.Cli;

/// <summary>What `ringfence cpu` was asked for.</summary>
/// <param name="Model">For `show`; null for `list`.</param>
/// <param name="Json">For programs instead of people.</param>
internal sealed record CpuOptions(string? Model, bool Json);

/// <summary>`ringfence cpu list` and `ringfence cpu show`.</summary>
internal static class CpuCommand
{
    private const int LineLength = 110;
    private const int NameWidth = 16;

    /// <exception cref="UsageException">There is no such model.</exception>
    public static void Run(CpuOptions options, IEngine engine, TextWriter output)
    {
        try
        {
            output.Write(options switch
            {
                { Model: { } model, Json: true } => Json(writer => WriteDescription(writer, engine.DescribeCpu(model))),
                { Model: { } model } => Show(engine.DescribeCpu(model)),
                { Json: true } => Json(writer => WriteList(writer, engine.CpuModels)),
                _ => List(engine.CpuModels),
            });
        }
        catch (CpuModelException e)
        {
            throw new UsageException(e.Message);
        }
    }

    private static string List(IReadOnlyList<CpuDescription> models)
    {
        StringBuilder text = new();
        foreach (CpuDescription model in models)
        {
            int withheld = Withheld(model).Count();
            text.Append(CultureInfo.InvariantCulture, $"{model.Name,-NameWidth}{model.Vendor,-14}{model.About}{(withheld > 0 ? $"; {withheld} features withheld" : "")}\n");
        }
        return text.ToString();
    }

    private static string Show(CpuDescription model)
    {
        StringBuilder text = new();
        Line(text, "model", model.Name);
        Line(text, "about", model.About);
        Line(text, "vendor", model.Vendor);
        Line(text, "signature", string.Create(
            CultureInfo.InvariantCulture, $"{model.Signature:x8}: family {model.Family}, model {model.Model}, stepping {model.Stepping}"));
        Line(text, "brand", model.Brand);
        Line(text, "caches", string.Join("; ", model.Caches));
        text.Append("\nadvertised, by leaf and register of CPUID\n");
        foreach (IGrouping<string, CpuFeatureDescription> group in Advertised(model).GroupBy(feature => feature.Group))
        {
            Line(text, "  " + group.Key, string.Join(' ', group.Select(feature => feature.Name)));
        }
        if (Withheld(model).Any())
        {
            text.Append("\nwithheld, though such a processor has it\n");
            foreach (IGrouping<string, CpuFeatureDescription> group in Withheld(model).GroupBy(feature => feature.Withheld!))
            {
                Line(text, "  " + group.Key, string.Join(' ', group.Select(feature => feature.Name)));
            }
        }
        return text.ToString();
    }

    private static IEnumerable<CpuFeatureDescription> Advertised(CpuDescription model) => model.Features.Where(feature => feature.Withheld is null);

    private static IEnumerable<CpuFeatureDescription> Withheld(CpuDescription model) => model.Features.Where(feature => feature.Withheld is not null);

    /// <summary>A name and what belongs to it, broken into lines between words.</summary>
    private static void Line(StringBuilder text, string name, string value)
    {
        string start = name.PadRight(NameWidth - 1) + " ";
        int column = start.Length;
        text.Append(start);
        foreach (string word in value.Split(' '))
        {
            if (column > start.Length && column + word.Length > LineLength)
            {
                text.Append('\n').Append(' ', NameWidth);
                column = NameWidth;
            }
            else if (column > start.Length)
            {
                text.Append(' ');
                column++;
            }
            text.Append(word);
            column += word.Length;
        }
        text.Append('\n');
    }

    private static string Json(Action<Utf8JsonWriter> write)
    {
        using MemoryStream stream = new();
        using (Utf8JsonWriter writer = new(stream, new JsonWriterOptions { Indented = true }))
        {
            write(writer);
        }
        return Encoding.UTF8.GetString(stream.ToArray()) + "\n";
    }

    private static void WriteList(Utf8JsonWriter writer, IReadOnlyList<CpuDescription> models)
    {
        writer.WriteStartArray();
        foreach (CpuDescription model in models)
        {
            writer.WriteStartObject();
            writer.WriteString("name", model.Name);
            writer.WriteString("vendor", model.Vendor);
            writer.WriteString("about", model.About);
            writer.WriteNumber("withheld", Withheld(model).Count());
            writer.WriteEndObject();
        }
        writer.WriteEndArray();
    }

    private static void WriteDescription(Utf8JsonWriter writer, CpuDescription model)
    {
        writer.WriteStartObject();
        writer.WriteString("name", model.Name);
        writer.WriteString("about", model.About);
        writer.WriteString("vendor", model.Vendor);
        writer.WriteNumber("signature", model.Signature);
        writer.WriteNumber("family", model.Family);
        writer.WriteNumber("model", model.Model);
        writer.WriteNumber("stepping", model.Stepping);
        writer.WriteString("brand", model.Brand);
        writer.WriteStartArray("caches");
        foreach (string cache in model.Caches)
        {
            writer.WriteStringValue(cache);
        }
        writer.WriteEndArray();
        writer.WriteStartObject("features");
        foreach (IGrouping<string, CpuFeatureDescription> group in Advertised(model).GroupBy(feature => feature.Group))
        {
            writer.WriteStartArray(group.Key);
            foreach (CpuFeatureDescription feature in group)
            {
                writer.WriteStringValue(feature.Name);
            }
            writer.WriteEndArray();
        }
        writer.WriteEndObject();
        writer.WriteStartObject("withheld");
        foreach (CpuFeatureDescription feature in Withheld(model))
        {
            writer.WriteString(feature.Name, feature.Withheld);
        }
        writer.WriteEndObject();
        writer.WriteEndObject();
    }
}
