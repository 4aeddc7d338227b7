//! Quantized operators of ONNX (QLinearConv and its like) as what they stand for: float operators between
//! DequantizeLinear and QuantizeLinear. The importer then has one form to understand.

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

use super::ImportError;

/// Quantized operators that are known, as messages list them.
const ARITHMETIC: &[(&str, &str)] = &[
    ("QLinearAdd", "Add"),
    ("QLinearMul", "Mul"),
    ("QLinearMatMul", "MatMul"),
    ("QLinearSigmoid", "Sigmoid"),
    ("QLinearLeakyRelu", "LeakyRelu"),
    ("QLinearGlobalAveragePool", "GlobalAveragePool"),
    ("QLinearAveragePool", "AveragePool"),
    ("QLinearSoftmax", "Softmax"),
    ("QLinearReduceMean", "ReduceMean"),
];

/// A graph without quantized operators; `None` if it has none.
///
/// # Errors
/// A node lacks operands.
pub(super) fn expanded(file: &GraphProto) -> Result<Option<GraphProto>, ImportError> {
    let quantized = |node: &NodeProto| node.op_type.starts_with("QLinear") || node.op_type == "QGemm";
    if !file.node.iter().any(quantized) {
        return Ok(None);
    }
    let mut graph = GraphProto { node: Vec::with_capacity(3 * file.node.len()), ..file.clone() };
    for node in &file.node {
        if quantized(node) {
            Expansion { node, nodes: &mut graph.node, made: 0 }.run()?;
        } else {
            graph.node.push(node.clone());
        }
    }
    Ok(Some(graph))
}

/// The nodes that one quantized operator becomes.
struct Expansion<'a> {
    node: &'a NodeProto,
    nodes: &'a mut Vec<NodeProto>,
    made: usize,
}

impl Expansion<'_> {
    fn run(mut self) -> Result<(), ImportError> {
        let op = self.node.op_type.as_str();
        match op {
            // x, its scale and zero point, the same of w, of y; bias.
            "QLinearConv" => {
                let x = self.dequantized(0, None)?;
                let w = self.dequantized(3, Some(0))?;
                let mut operands = vec![x, w];
                if let Some(bias) = self.given(8) {
                    operands.push(self.bias(&bias, [1, 4])?);
                }
                let y = self.push("Conv", operands, self.node.attribute.clone());
                self.quantized(y, 6)
            }
            "QGemm" => {
                let x = self.dequantized(0, None)?;
                let transposed = self.node.attribute.iter().any(|a| a.name == "transB" && a.i != 0);
                let w = self.dequantized(3, Some(i64::from(!transposed)))?;
                let mut operands = vec![x, w];
                if let Some(bias) = self.given(6) {
                    operands.push(self.bias(&bias, [1, 4])?);
                }
                let y = self.push("Gemm", operands, self.node.attribute.clone());
                if self.given(7).is_some() { self.quantized(y, 7) } else { self.named(y) }
            }
            "QLinearConcat" => {
                let count = self.node.input.len().saturating_sub(2) / 3;
                let operands =
                    (0..count).map(|at| self.dequantized(2 + 3 * at, None)).collect::<Result<Vec<_>, _>>()?;
                let y = self.push("Concat", operands, self.node.attribute.clone());
                self.quantized(y, 0)
            }
            _ => {
                let Some((_, plain)) = ARITHMETIC.iter().find(|(name, _)| *name == op) else {
                    // Refused by name later.
                    self.nodes.push(self.node.clone());
                    return Ok(());
                };
                if self.node.attribute.iter().any(|a| a.name == "channels_last" && a.i != 0) {
                    return Err(self.fault("channels_last 1: export the model with channels first"));
                }
                let mut operands = vec![self.dequantized(0, None)?];
                let two = matches!(*plain, "Add" | "Mul" | "MatMul");
                if two {
                    operands.push(self.dequantized(3, Some(1))?);
                }
                let kept = |a: &&AttributeProto| !matches!(a.name.as_str(), "channels_last" | "opset");
                let attributes = self.node.attribute.iter().filter(kept).cloned().collect();
                let y = self.push(plain, operands, attributes);
                self.quantized(y, if two { 6 } else { 3 })
            }
        }
    }

    fn given(&self, index: usize) -> Option<String> {
        self.node.input.get(index).filter(|name| !name.is_empty()).cloned()
    }

    fn operand(&self, index: usize) -> Result<String, ImportError> {
        self.given(index).ok_or_else(|| self.fault(&format!("operand {index} is missing")))
    }

    fn fault(&self, reason: &str) -> ImportError {
        super::Fault::Bad(reason.to_owned()).at(self.name(), &self.node.op_type)
    }

    fn name(&self) -> &str {
        match self.node.output.first() {
            Some(output) if self.node.name.is_empty() => output,
            _ => &self.node.name,
        }
    }

    /// Operand `index` as floats; its scale and zero point follow it.
    fn dequantized(&mut self, index: usize, axis: Option<i64>) -> Result<String, ImportError> {
        let mut operands = vec![self.operand(index)?, self.operand(index + 1)?];
        operands.extend(self.given(index + 2));
        let attributes = axis.map(|axis| integer("axis", axis)).into_iter().collect();
        Ok(self.push("DequantizeLinear", operands, attributes))
    }

    /// 32-bit integers at the product of two scales as floats.
    fn bias(&mut self, bias: &str, scales: [usize; 2]) -> Result<String, ImportError> {
        let scales = vec![self.operand(scales[0])?, self.operand(scales[1])?];
        let scale = self.push("Mul", scales, Vec::new());
        Ok(self.push("DequantizeLinear", vec![bias.to_owned(), scale], vec![integer("axis", 0)]))
    }

    /// The node's own result: `value` with the scale at `index`, and the zero point behind it.
    fn quantized(mut self, value: String, index: usize) -> Result<(), ImportError> {
        let mut operands = vec![value, self.operand(index)?];
        operands.extend(self.given(index + 1));
        let y = self.push("QuantizeLinear", operands, Vec::new());
        self.named(y)
    }

    /// Gives the last node the result's name in the file.
    fn named(self, _value: String) -> Result<(), ImportError> {
        if let Some(last) = self.nodes.last_mut() {
            last.output.clone_from(&self.node.output);
        }
        Ok(())
    }

    /// Adds a node and returns the name of its result, which no file can hold.
    fn push(&mut self, op: &str, input: Vec<String>, attribute: Vec<AttributeProto>) -> String {
        let result = format!("{}\u{0}{}", self.name(), self.made);
        self.made += 1;
        self.nodes.push(NodeProto {
            name: self.name().to_owned(),
            op_type: op.to_owned(),
            input,
            output: vec![result.clone()],
            attribute,
            ..NodeProto::default()
        });
        result
    }
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), i: value, r#type: 2, ..AttributeProto::default() }
}
