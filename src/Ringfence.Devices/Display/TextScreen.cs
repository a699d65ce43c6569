using System.Text;

namespace Ringfence.Devices.Display;

/// <summary>What a text screen shows at one moment.</summary>
/// <param name="Rows">How many there are; 0 when the adapter shows graphics.</param>
/// <param name="Columns">Characters of a row.</param>
/// <param name="Characters">Row by row, in code page 437.</param>
/// <param name="CursorRow">From 0; -1 when there is no cursor to see.</param>
/// <param name="CursorColumn">From 0; -1 when there is no cursor to see.</param>
public sealed record TextScreen(int Rows, int Columns, IReadOnlyList<byte> Characters, int CursorRow, int CursorColumn)
{
    public const int MostRows = 100;

    /// <summary>Code page 437 as the display's font draws it: the first 32 and 127 are pictures too. What looks empty is a space.</summary>
    private const string CodePage437 =
        " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼ !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~⌂"
        + "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";

    internal static TextScreen Graphics { get; } = new(0, 0, [], -1, -1);

    /// <summary>The rows as text, each <see cref="Columns"/> characters long.</summary>
    public IReadOnlyList<string> Lines
    {
        get
        {
            List<string> lines = [];
            StringBuilder line = new(Columns);
            for (int row = 0; row < Rows; row++)
            {
                line.Clear();
                for (int column = 0; column < Columns; column++)
                {
                    line.Append(CodePage437[Characters[(row * Columns) + column]]);
                }
                lines.Add(line.ToString());
            }
            return lines;
        }
    }
}
